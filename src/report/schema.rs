//! The published JSON Schemas are those of the types. `GILSCOPE_UPDATE_SCHEMAS=1 cargo test --lib schema` writes them anew.

use std::fs;
use std::path::Path;

use schemars::{JsonSchema, schema_for};
use serde_json::Value;

use super::check::CheckRules;
use super::check::outcome::CheckResult;
use super::{Report, fixture};

/// The schema of a type, compared with that in `docs/`.
fn published<T: JsonSchema>(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    let schema = schema_for!(T).to_value();
    let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    if std::env::var_os("GILSCOPE_UPDATE_SCHEMAS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let how = "write it anew: GILSCOPE_UPDATE_SCHEMAS=1 cargo test --lib schema";
    assert_eq!(fs::read_to_string(&path).unwrap_or_default(), text, "{} is not up to date; {how}", path.display());
    schema
}

#[track_caller]
fn assert_valid(schema: &Value, instance: &Value) {
    let validator = jsonschema::validator_for(schema).unwrap();
    let errors: Vec<String> = validator.iter_errors(instance).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn the_schema_of_reports_is_published_and_reports_obey_it() {
    let schema = published::<Report>("report.schema.json");
    let mut report = serde_json::to_value(fixture::report()).unwrap();
    assert_valid(&schema, &report);
    report["threads"][0]["wall_s"] = "long".into();
    assert!(!jsonschema::is_valid(&schema, &report));
}

#[test]
fn the_schema_of_checks_is_published_and_checks_obey_it() {
    let schema = published::<CheckResult>("check.schema.json");
    let result = CheckRules::default().check(&[], &[]).unwrap();
    assert_valid(&schema, &serde_json::to_value(result).unwrap());
}
