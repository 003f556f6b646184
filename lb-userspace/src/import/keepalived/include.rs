//! Which files an `include` line means.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The `include` keywords: `include` says nothing of what it does not find, the others check more and more.
pub(super) const KEYWORDS: &[&str] = &["include", "includer", "includem", "includew", "includeb", "includea"];

/// What an include line found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Regular files without execute permission, in the order of their names.
    pub(super) files: Vec<PathBuf>,
    /// What matched but is not read, and why.
    pub(super) skipped: Vec<(PathBuf, &'static str)>,
    /// Alternatives of braces that match nothing.
    pub(super) unmatched: Vec<String>,
    /// Whether the pattern has `*`, `?` or `[`.
    pub(super) has_wildcard: bool,
}

/// Looks for the files of `pattern`, relative to `directory`, as glob(3) with `GLOB_BRACE` does.
pub(super) fn find(directory: &Path, pattern: &str) -> Found {
    let options = glob::MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: true,
    };
    let mut found = Found { has_wildcard: pattern.contains(['*', '?', '[']), ..Found::default() };
    for alternative in alternatives(pattern) {
        let path = directory.join(&alternative);
        // The directory's own name is no pattern.
        let whole = if Path::new(&alternative).is_absolute() {
            alternative.clone()
        } else {
            format!("{}/{alternative}", glob::Pattern::escape(&directory.display().to_string()))
        };
        let matches: Vec<PathBuf> = if alternative.contains(['*', '?', '[']) {
            glob::glob_with(&whole, options)
                .map(|paths| paths.filter_map(Result::ok).collect())
                .unwrap_or_default()
        } else {
            path.exists().then_some(path).into_iter().collect()
        };
        if matches.is_empty() {
            found.unmatched.push(alternative);
        }
        for path in matches {
            match std::fs::metadata(&path) {
                Ok(entry) if !entry.is_file() => found.skipped.push((path, "is not a regular file")),
                Ok(entry) if entry.permissions().mode() & 0o111 != 0 => {
                    found.skipped.push((path, "is executable"));
                }
                Ok(_) => found.files.push(path),
                Err(_) => found.skipped.push((path, "cannot be read")),
            }
        }
    }
    found
}

/// `a{b,c{d,e}}` is `ab`, `acd` and `ace`, as in csh. Braces without their other half stand for themselves.
pub(super) fn alternatives(pattern: &str) -> Vec<String> {
    let mut open = None;
    let mut depth = 0_u32;
    let mut commas = Vec::new();
    for (index, c) in pattern.char_indices() {
        match c {
            '{' => {
                depth += 1;
                if depth == 1 {
                    open = Some(index);
                    commas.clear();
                }
            }
            ',' if depth == 1 => commas.push(index),
            '}' if depth > 0 => {
                depth -= 1;
                if let (0, Some(start)) = (depth, open) {
                    return expand(pattern, start, &commas, index);
                }
            }
            _ => {}
        }
    }
    vec![pattern.to_owned()]
}

fn expand(pattern: &str, open: usize, commas: &[usize], close: usize) -> Vec<String> {
    let part = |from: usize, to: usize| pattern.get(from..to).unwrap_or("");
    let (before, after) = (part(0, open), part(close + 1, pattern.len()));
    let mut starts = vec![open + 1];
    starts.extend(commas.iter().map(|comma| comma + 1));
    let ends = commas.iter().copied().chain([close]);
    starts
        .iter()
        .zip(ends)
        .flat_map(|(&start, end)| alternatives(&format!("{before}{}{after}", part(start, end))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_expand_as_in_csh() {
        assert_eq!(alternatives("a"), ["a"]);
        assert_eq!(alternatives("{foo/{,cat,dog},bar}"), ["foo/", "foo/cat", "foo/dog", "bar"]);
        assert_eq!(alternatives("x{1,2}y{3,4}"), ["x1y3", "x1y4", "x2y3", "x2y4"]);
        assert_eq!(alternatives("open{a,b"), ["open{a,b"]);
        assert_eq!(alternatives("close}"), ["close}"]);
    }

    #[test]
    fn only_regular_files_without_execute_permission_are_included() {
        let directory = tempfile::tempdir().unwrap();
        let make = |name: &str, mode: u32| {
            let path = directory.path().join(name);
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let (b, a) = (make("b.conf", 0o644), make("a.conf", 0o600));
        let script = make("c.conf", 0o755);
        make(".hidden.conf", 0o644);
        let inner = directory.path().join("d.conf");
        std::fs::create_dir(&inner).unwrap();
        let found = find(directory.path(), "*.conf");
        assert_eq!(found.files, [a, b.clone()]);
        assert_eq!(found.skipped, [(script, "is executable"), (inner, "is not a regular file")]);
        assert!(found.has_wildcard);
        let found = find(directory.path(), "{b,z}.conf");
        assert_eq!((found.files, found.unmatched), (vec![b], vec!["z.conf".to_owned()]));
    }
}
