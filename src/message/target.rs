//! What a request is for, as it was asked: the text of its target, and where its parts stand in it. Whoever read it has
//! judged it; nothing is parsed here but what the `http` crate has read.

use std::rc::Rc;

use http::Uri;

/// The target of a request (RFC 9112 section 3.2, RFC 9113 section 8.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Scheme, authority, and path with query, one behind the other and nothing between them. It never changes, and is
    /// shared by the requests of a connection that are for the same thing.
    text: Rc<str>,
    authority: u32,
    path: u32,
    /// Where the question mark stands, or the end.
    query: u32,
}

impl Target {
    /// Of a path with or without a query, and the scheme and authority that were said with it; empty if they were not.
    /// Whoever has read them has bounded them, far below 4 GiB.
    pub fn new(scheme: &str, authority: &str, path_and_query: &str) -> Self {
        let path = scheme.len() + authority.len();
        let text: Rc<str> = if path == 0 {
            path_and_query.into()
        } else {
            [scheme, authority, path_and_query].concat().into()
        };
        let question_mark = path_and_query.bytes().position(|byte| byte == b'?');
        let query = question_mark.map_or(text.len(), |at| path + at);
        Self { text, authority: scheme.len() as u32, path: path as u32, query: query as u32 }
    }

    /// What the `http` crate has read.
    pub fn of(uri: &Uri) -> Self {
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let path = uri.path_and_query().filter(|_| !uri.path().is_empty());
        let path = path.map_or("", |path| path.as_str());
        Self::new(uri.scheme_str().unwrap_or(""), authority, path)
    }

    /// The scheme, if it was said.
    pub fn scheme(&self) -> Option<&str> {
        Some(&self.text[..self.authority as usize]).filter(|scheme| !scheme.is_empty())
    }

    /// The authority, if it was said.
    pub fn authority(&self) -> Option<&str> {
        let authority = self.authority as usize..self.path as usize;
        Some(&self.text[authority]).filter(|authority| !authority.is_empty())
    }

    /// The path without the query. An empty one before a query is the root.
    pub fn path(&self) -> &str {
        match &self.text[self.path as usize..self.query as usize] {
            "" if self.text.len() > self.path as usize => "/",
            path => path,
        }
    }

    /// The query, without its question mark, if there is one.
    pub fn query(&self) -> Option<&str> {
        self.text.get(self.query as usize + 1..)
    }

    /// Path and query as they came; empty if there is neither.
    pub fn path_and_query(&self) -> &str {
        &self.text[self.path as usize..]
    }
}

/// The root.
impl Default for Target {
    fn default() -> Self {
        Self { text: "/".into(), authority: 0, path: 0, query: 1 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_root_is_where_nothing_is_said() {
        assert_eq!(Target::default(), Target::new("", "", "/"));
        assert_eq!(Target::of(&Uri::default()), Target::default());
    }

    proptest! {
        /// Of all forms that a request's target may have.
        #[test]
        fn its_parts_are_those_that_the_http_crate_finds(
            text in r"((https?://)[a-z.]{1,9}(:[0-9]{1,4})?)?/[!$-;=@-Z_a-z~]{0,20}(\?[!$-;=?-Z_a-z~]{0,20})?|\*|http://a(\?b?)?",
        ) {
            let uri: Uri = text.parse().unwrap();
            let target = Target::of(&uri);
            prop_assert_eq!(target.path(), uri.path());
            prop_assert_eq!(target.query(), uri.query());
            prop_assert_eq!(target.scheme(), uri.scheme_str());
            prop_assert_eq!(target.authority(), uri.authority().map(|authority| authority.as_str()));
            if uri.scheme().is_none() {
                prop_assert_eq!(Target::new("", "", &text), target);
            }
        }
    }
}
