//! `gilscope mcp`: what an assistant gets, through the protocol.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::{Value, json};

use crate::support::{Python, folder, gilscope, run};

/// The server, and a client of it.
struct Client {
    server: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    requests: u64,
}

impl Client {
    fn start() -> Client {
        let mut command = gilscope(["mcp"]);
        let mut server = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (server.stdin.take(), BufReader::new(server.stdout.take().unwrap()));
        let mut client = Client { server, input, output, requests: 0 };
        let about = json!({ "name": "test", "version": "1" });
        let answer = client.request(
            "initialize",
            json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": about }),
        );
        assert_eq!(answer["result"]["serverInfo"]["name"], "gilscope", "{answer}");
        client.send(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        client
    }

    fn send(&mut self, message: Value) {
        writeln!(self.input.as_mut().unwrap(), "{message}").unwrap();
    }

    fn request(&mut self, method: &str, params: Value) -> Value {
        self.requests += 1;
        let id = self.requests;
        self.send(json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "the server has ended");
            let message: Value = serde_json::from_str(&line).unwrap();
            if message["id"] == id {
                return message;
            }
        }
    }

    /// What a tool answers, and whether that is an error.
    fn call(&mut self, tool: &str, arguments: Value) -> (String, bool) {
        let answer = self.request("tools/call", json!({ "name": tool, "arguments": arguments }));
        let result = &answer["result"];
        let text = result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}"));
        (text.to_owned(), result["isError"] == true)
    }

    #[track_caller]
    fn ok(&mut self, tool: &str, arguments: Value) -> String {
        let (text, is_error) = self.call(tool, arguments);
        assert!(!is_error, "{text}");
        text
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.input.take());
        self.server.wait().unwrap();
    }
}

#[test]
fn an_assistant_finds_a_process_records_it_and_reads_what_is_wrong() {
    let target = Python::usual().script("gated.py", &["60", "25", "10"]).run();
    let mut target = target;
    target.wait_for("READY");
    let mut client = Client::start();
    let tools = client.request("tools/list", json!({}));
    let names: Vec<&str> =
        tools["result"]["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["python_processes", "dump", "record", "report", "diff"]);

    let listed: Value = serde_json::from_str(&client.ok("python_processes", json!({}))).unwrap();
    let found = listed.as_array().unwrap().iter().any(|process| process["pid"] == target.pid());
    assert!(found, "{listed:#}");
    assert!(client.ok("dump", json!({ "pid": target.pid() })).contains("server-0"));

    let record = json!({ "pid": target.pid(), "duration_s": 1 });
    let brief = client.ok("record", record.clone());
    assert!(brief.contains("## Next") && brief.contains("gated.py"), "{brief}");
    let file = brief.lines().find_map(|line| line.strip_prefix("Recording: ")).unwrap().to_owned();
    let report: Value =
        serde_json::from_str(&client.ok("report", json!({ "file": file, "format": "json" }))).unwrap();
    let schema: Value = serde_json::from_str(include_str!("../../docs/report.schema.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator.iter_errors(&report).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    let diff = client.ok("diff", json!({ "before": file, "after": file }));
    assert!(diff.contains("no difference beyond noise"), "{diff}");

    // What goes wrong is said, and the server goes on.
    let nothing = folder();
    for (tool, arguments, part) in [
        ("dump", json!({ "pid": 1 << 30 }), "no process"),
        ("dump", json!({ "pid": std::process::id() }), "Python"),
        ("record", json!({ "pid": target.pid(), "duration_s": 3600 }), "at most 60"),
        ("record", json!({ "program": ["true"] }), "unknown field"),
        ("report", json!({ "file": nothing.path().join("x.gscope") }), "No such file"),
        ("report", json!({ "file": "/etc/passwd" }), "neither a recording nor a report"),
    ] {
        let (text, is_error) = client.call(tool, arguments.clone());
        assert!(is_error && text.contains(part) && !text.contains("root:"), "{tool} {arguments}: {text}");
    }
    assert!(client.ok("dump", json!({ "pid": target.pid(), "format": "json" })).contains("\"threads\""));
    drop(client);
    std::fs::remove_dir_all(std::path::Path::new(&file).parent().unwrap()).unwrap();
}

#[test]
fn the_server_ends_with_its_client_and_says_nothing_else() {
    let mut command = gilscope(["mcp"]);
    command.stdin(Stdio::null());
    // Nobody has spoken the protocol.
    let done = run(command);
    assert_eq!(done.stdout, "");
    assert!(!done.stderr.contains("panicked"), "{}", done.stderr);
}
