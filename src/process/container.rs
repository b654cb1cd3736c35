//! In which container a process is, by its control group (`/proc/PID/cgroup`). Called where processes are listed.

use std::fs;

use crate::event::Pid;

/// How many digits of a container's id are shown, as Docker and Podman do.
const SHORT_ID: usize = 12;

/// What runtimes put before the id or the name in the control group's last parts.
const PREFIXES: [&str; 6] = ["docker-", "libpod-", "cri-containerd-", "crio-", "lxc.payload.", "machine-"];

/// The short id of the container that a process is in, or its name; none outside of all, or if that may not be known.
pub fn container(pid: Pid) -> Option<String> {
    parse(&fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?)
}

fn parse(cgroup: &str) -> Option<String> {
    cgroup.lines().filter_map(|line| line.splitn(3, ':').nth(2)).find_map(of_path)
}

fn of_path(path: &str) -> Option<String> {
    path.rsplit('/').find_map(|part| {
        let part = part.strip_suffix(".scope").unwrap_or(part);
        let named = PREFIXES.iter().find_map(|prefix| part.strip_prefix(prefix));
        // Kubernetes puts the runtime before the id: `cri-containerd:ID`.
        let id = named.unwrap_or(part).rsplit(':').next()?;
        let is_id = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        match named {
            _ if is_id => id.get(..SHORT_ID).map(str::to_owned),
            Some(name) if part.starts_with("lxc.payload.") || part.starts_with("machine-") => Some(name.to_owned()),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_write_the_container_into_the_control_group() {
        let id = "4bf92f3577b34da6a3ce929d0e0e47364bf92f3577b34da6a3ce929d0e0e4736";
        for path in [
            format!("0::/system.slice/docker-{id}.scope"),
            format!("12:cpu,cpuacct:/docker/{id}\n0::/"),
            format!("0::/machine.slice/libpod-{id}.scope/container"),
            format!("0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope"),
            format!("0::/kubepods/burstable/pod7/{id}"),
            format!("0::/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:{id}"),
        ] {
            assert_eq!(parse(&path).as_deref(), Some("4bf92f3577b3"), "{path}");
        }
        assert_eq!(parse("0::/lxc.payload.web/init.scope").as_deref(), Some("web"));
        assert_eq!(parse("0::/machine.slice/machine-db.scope").as_deref(), Some("db"));
        for path in ["0::/", "0::/user.slice/user-0.slice/session-3.scope", "0::/init.scope", "nonsense", ""] {
            assert_eq!(parse(path), None, "{path}");
        }
    }
}
