//! Named code blocks of our Markdown, each after a comment with its name, and their replacement with `ATREST_BLESS=1`.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// A Markdown file of this project.
pub struct Markdown {
    path: PathBuf,
    text: String,
}

impl Markdown {
    pub fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
        Markdown { path, text: text.replace("\r\n", "\n") }
    }

    /// The names in the comments `<!-- KIND: NAME -->`.
    pub fn names(&self, kind: &str) -> Vec<String> {
        let comments = self.text.lines().filter_map(|line| line.strip_prefix(&format!("<!-- {kind}: ")));
        comments.map(|rest| rest.strip_suffix(" -->").expect("a comment ends on its line").to_owned()).collect()
    }

    /// The code block after the comment, including its last line feed.
    pub fn block(&self, kind: &str, name: &str) -> &str {
        let (start, end) = self.place(kind, name);
        &self.text[start..end]
    }

    /// Compares a block with what it should be; rewrites the file instead if `ATREST_BLESS=1`.
    pub fn expect(&mut self, kind: &str, name: &str, wanted: &str) {
        assert!(wanted.ends_with('\n') && !wanted.contains("```"), "{name} does not fit into a code block");
        if self.block(kind, name) == wanted {
            return;
        }
        let path = self.path.display();
        let bless = env::var_os("ATREST_BLESS").is_some_and(|value| value == "1");
        assert!(bless, "{path}: the block {name:?} should be as follows (ATREST_BLESS=1 writes it):\n{wanted}");
        let (start, end) = self.place(kind, name);
        self.text.replace_range(start..end, wanted);
        fs::write(&self.path, &self.text).unwrap();
    }

    fn place(&self, kind: &str, name: &str) -> (usize, usize) {
        let comment = format!("<!-- {kind}: {name} -->\n```");
        let missing = || panic!("{}: no code block right behind <!-- {kind}: {name} -->", self.path.display());
        let at = self.text.find(&comment).unwrap_or_else(missing) + comment.len();
        let start = at + self.text[at..].find('\n').unwrap_or_else(missing) + 1;
        let end = start - 1 + self.text[start - 1..].find("\n```\n").unwrap_or_else(missing) + 1;
        (start, end)
    }
}
