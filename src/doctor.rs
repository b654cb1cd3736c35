//! stub until helper lands
#[derive(Debug, serde::Serialize)]
pub struct Report {}
impl Report {
    pub fn exit_code(&self) -> u8 {
        0
    }
}
impl std::fmt::Display for Report {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Ok(())
    }
}
pub fn run(_: Option<crate::event::Pid>) -> Report {
    Report {}
}
