//! What a shell and `man` are told of the command line.

use super::program::Place;
use std::process::Command;

#[test]
fn bash_completes_commands_and_their_flags() {
    let place = Place::new();
    let script = place.run(&["completions", "bash"]);
    assert_eq!(script.code, 0, "{}", script.err);
    let path = place.write("completions.bash", &script.out);
    for (line, completed) in [
        ("windlass tok", "token"),
        ("windlass top --on", "--once"),
        ("windlass token cre", "create"),
        ("windlass token create --sco", "--scopes"),
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let (last, before) = (words[words.len() - 1], words[words.len() - 2]);
        let asks = format!(
            "source {}; COMP_WORDS=({line}); COMP_CWORD={}; _windlass windlass {last} {before}; echo ${{COMPREPLY[@]}}",
            path.display(),
            words.len() - 1
        );
        let answered = Command::new("bash").args(["-c", &asks]).output().expect("bash runs");
        assert_eq!(String::from_utf8_lossy(&answered.stdout).trim(), completed, "{line}: {}", String::from_utf8_lossy(&answered.stderr));
    }
}

#[test]
fn each_command_has_a_manual_page() {
    let place = Place::new();
    let first = place.run(&["man"]);
    assert!(first.code == 0 && first.out.contains(".TH windlass 1"), "{}", first.err);
    let folder = place.path("man1");
    let written = place.run(&["man", "--folder", &folder.display().to_string()]);
    assert_eq!(written.code, 0, "{}", written.err);
    for (page, says) in [
        ("windlass.1", "durable job queue"),
        ("windlass-run.1", "daemon"),
        ("windlass-top.1", "live in this terminal"),
        ("windlass-token-create.1", "tenant"),
    ] {
        let text = std::fs::read_to_string(folder.join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
        assert!(text.contains(says), "{page}");
    }
}
