//! The text that `cryptsetup luksDump` shows for a token.

/// The lines.
pub fn describe(json: &[u8]) -> Vec<String> {
    let token: serde_json::Value = serde_json::from_slice(json).unwrap_or_default();
    let line = |title: &str, name: &str| {
        // Text from a header must not control a terminal.
        let value: String = token[name].as_str().unwrap_or("unknown").chars().filter(|c| !c.is_control()).collect();
        format!("\t{title:<12}{value}")
    };
    vec![line("Key:", "key_url"), line("Algorithm:", "algorithm"), line("Owner:", "encryption_type")]
}

#[cfg(test)]
mod tests {
    use super::describe;

    #[test]
    fn a_token_is_described_without_what_controls_a_terminal() {
        let json = br#"{"key_url":"memory:one\u001b[2J/keys/disks/1","algorithm":"A256KW"}"#;
        let expected = ["\tKey:        memory:one[2J/keys/disks/1", "\tAlgorithm:  A256KW", "\tOwner:      unknown"];
        assert_eq!(describe(json), expected);
        assert_eq!(describe(b"nonsense").len(), 3);
    }
}
