//! The documentation shows code that is compiled.

#[test]
fn the_application_in_the_documentation_is_the_example_and_is_short() {
    let page = include_str!("../../../docs/agent.md");
    let example = include_str!("../../examples/counter.rs");
    let code = &example[example.find("use std").unwrap()..];
    assert!(page.contains(code), "docs/agent.md has to show agent/examples/counter.rs as it is");
    assert!(code.lines().count() < 60, "{} lines", code.lines().count());
}
