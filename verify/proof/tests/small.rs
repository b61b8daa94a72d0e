//! The harness itself: a few short operations, all of them, and one fate at one instruction.

use std::process::Command;

fn proof(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_proof")).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn assert_clean(text: &str, at_least: u64) {
    if text.starts_with("SKIPPED") {
        return;
    }
    let last = text.lines().rev().find(|line| line.contains("points killed")).expect(text);
    let numbers: Vec<u64> =
        last.split_whitespace().filter_map(|word| word.trim_end_matches(',').parse().ok()).collect();
    assert!(numbers[0] + numbers[1] >= at_least && numbers[2] == 0, "{text}");
}

#[test]
fn short_operations_survive_every_instruction() {
    for case in ["get", "alloc, cached", "close, second"] {
        assert_clean(&proof(&["--case", case]), 20);
    }
}

/// Kills between which nothing happens that others see share a survivor, and only then.
#[test]
fn survivors_are_shared_only_if_asked_for() {
    for (stretch, are_shared) in [("1", false), ("32", true)] {
        let case = "create with a block";
        let text = proof(&["--case", case, "--fate", "killed", "--every", "3", "--stretch", stretch]);
        assert_clean(&text, 500);
        let Some(last) = text.lines().rev().find(|line| line.contains("points killed")) else { return };
        let number = |noun: &str| -> u64 {
            let words: Vec<&str> = last.split_whitespace().map(|word| word.trim_end_matches(',')).collect();
            words[words.iter().position(|word| *word == noun).unwrap() - 1].parse().unwrap()
        };
        let (killed, survivors) = (number("points"), number("survivors"));
        assert_eq!(survivors < killed / 4, are_shared, "{text}");
        assert!(are_shared || survivors == killed, "{text}");
    }
}

#[test]
fn one_point_can_be_played_again() {
    assert_clean(&proof(&["--case", "close, last, opened meanwhile", "--at", "100", "--fate", "stopped"]), 1);
}
