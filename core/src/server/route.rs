//! The router: method and path to a value, as a pure value itself.

use core::cmp::Ordering;
use core::fmt;
use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderValue, Method};

use super::params::{Params, Template};
use super::path::{self, BadPath};

/// Collects routes. See [`Router`].
#[derive(Debug)]
pub struct RouterBuilder<T> {
    tree: matchit::Router<usize>,
    entries: Vec<Entry<T>>,
    templates: Vec<Template>,
}

/// Routes by method and path.
///
/// A template is a path with `{name}` for a whole segment and `{*name}` for all that is left at the
/// end. A static segment wins over a parameter; two templates that match the same paths are refused
/// when they are added. Paths are decoded once, segment by segment: `%2F` does not split one.
///
/// ```
/// use http::Method;
/// use sinew_core::server::{Found, RouterBuilder};
///
/// let mut builder = RouterBuilder::new();
/// builder.route(Method::GET, "/api/{id}", "one")?;
/// let router = builder.build();
/// let Found::Route { value, params, template } = router.find(&Method::GET, "/api/a%20b")? else {
///     panic!("not found");
/// };
/// let template = &router.templates()[template];
/// assert_eq!(*value, "one");
/// assert_eq!(params.get(template, "/api/a%20b", "id").as_deref(), Some("a b"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Router<T> {
    /// Templates without parameters, sorted by length and text: a path that is one of them needs no
    /// look into the tree, which would find the same.
    literals: Box<[(Box<[u8]>, usize)]>,
    tree: matchit::Router<usize>,
    entries: Vec<Entry<T>>,
    templates: Arc<[Template]>,
    /// Every method of every route, for `OPTIONS *`.
    allow: HeaderValue,
}

/// What belongs to a method and a path.
#[derive(Debug)]
pub enum Found<'r, T> {
    /// This value.
    Route {
        /// What was registered.
        value: &'r T,
        /// The index of its template among [`Router::templates`].
        template: usize,
        /// The parameters of the path.
        params: Params,
    },
    /// The path exists, the method does not: 405 with this `Allow`.
    /// <https://www.rfc-editor.org/rfc/rfc9110#section-15.5.6>
    WrongMethod(&'r HeaderValue),
    /// `OPTIONS` for a path, or for `*`, that no route of its own answers: success with this
    /// `Allow`. <https://www.rfc-editor.org/rfc/rfc9110#section-9.3.7>
    Options(&'r HeaderValue),
    /// No route has this path.
    Missing,
}

/// A route that cannot be added.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RouteError {
    /// The same method and template again.
    Duplicate {
        /// The method; `None` for a route of every method.
        method: Option<Method>,
        /// The template.
        template: String,
    },
    /// Another template matches the same paths.
    Conflict {
        /// The template.
        template: String,
        /// The one that is there already.
        with: String,
    },
    /// The template does not start with a slash, or its braces make no sense.
    Malformed {
        /// The template.
        template: String,
    },
}

#[derive(Debug)]
struct Entry<T> {
    methods: Vec<(Method, T)>,
    any: Option<T>,
    allow: HeaderValue,
}

impl<T> Default for RouterBuilder<T> {
    fn default() -> Self {
        Self { tree: matchit::Router::new(), entries: Vec::new(), templates: Vec::new() }
    }
}

impl<T> RouterBuilder<T> {
    /// No routes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a route for one method. A route for GET answers HEAD too, unless HEAD has its own.
    pub fn route(&mut self, method: Method, template: &str, value: T) -> Result<(), RouteError> {
        let entry = self.entry(template)?;
        if entry.methods.iter().any(|(known, _)| *known == method) {
            let template = template.to_owned();
            return Err(RouteError::Duplicate { method: Some(method), template });
        }
        entry.methods.push((method, value));
        Ok(())
    }

    /// Adds a route for every method that has none of its own.
    pub fn any(&mut self, template: &str, value: T) -> Result<(), RouteError> {
        let entry = self.entry(template)?;
        if entry.any.is_some() {
            return Err(RouteError::Duplicate { method: None, template: template.to_owned() });
        }
        entry.any = Some(value);
        Ok(())
    }

    /// The finished router.
    pub fn build(mut self) -> Router<T> {
        let mut all = Vec::new();
        for entry in &mut self.entries {
            let methods = entry.methods.iter().map(|(method, _)| method.clone());
            entry.allow = allow(methods.clone());
            all.extend(methods);
        }
        let mut literals: Vec<_> = self
            .templates
            .iter()
            .enumerate()
            .filter(|(_, template)| template.names().next().is_none())
            .filter_map(|(index, template)| {
                let literal = path::normalise(template.as_str()).ok()?;
                let literal = literal.replace("{{", "{").replace("}}", "}");
                Some((literal.into_bytes().into_boxed_slice(), index))
            })
            .collect();
        literals.sort_by(|(a, _), (b, _)| by_length(a, b));
        Router {
            literals: literals.into(),
            tree: self.tree,
            entries: self.entries,
            templates: self.templates.into(),
            allow: allow(all.into_iter()),
        }
    }

    fn entry(&mut self, template: &str) -> Result<&mut Entry<T>, RouteError> {
        let malformed = || RouteError::Malformed { template: template.to_owned() };
        let index = match self.templates.iter().position(|known| known.as_str() == template) {
            Some(index) => index,
            None => {
                let names = names(template).ok_or_else(malformed)?;
                // Literals match paths in normal form, so they are brought into it as well.
                let pattern = path::normalise(template).map_err(|_| malformed())?;
                self.tree.insert(pattern.into_owned(), self.entries.len()).map_err(|error| {
                    match error {
                        matchit::InsertError::Conflict { with } => {
                            RouteError::Conflict { template: template.to_owned(), with }
                        }
                        _ => malformed(),
                    }
                })?;
                self.templates.push(Template::new(template, names));
                let allow = HeaderValue::from_static("");
                self.entries.push(Entry { methods: Vec::new(), any: None, allow });
                self.entries.len() - 1
            }
        };
        self.entries.get_mut(index).ok_or_else(malformed)
    }
}

impl<T> Router<T> {
    /// What belongs to this method and this path, still percent-encoded, or `*`.
    ///
    /// # Errors
    ///
    /// A path that could be read otherwise further on: answer 400.
    pub fn find(
        &self,
        method: &Method,
        raw: &(impl AsRef<[u8]> + ?Sized),
    ) -> Result<Found<'_, T>, BadPath> {
        let raw = raw.as_ref();
        // https://www.rfc-editor.org/rfc/rfc9112#section-3.2.4
        if raw == b"*" {
            return Ok(Found::Options(&self.allow));
        }
        if let Ok(at) = self.literals.binary_search_by(|(literal, _)| by_length(literal, raw))
            && let Some((_, template)) = self.literals.get(at)
        {
            return Ok(self.found(method, *template, Params::default()));
        }
        let raw = core::str::from_utf8(raw).map_err(|_| BadPath::Utf8)?;
        let normal = path::normalise(raw)?;
        let Ok(matched) = self.tree.at(&normal) else { return Ok(Found::Missing) };
        let mut params = Params::default();
        for (_, text) in matched.params.iter() {
            // Both are parts of one string: a difference of addresses is an offset.
            params.push(text.as_ptr() as usize - normal.as_ptr() as usize, text.len());
        }
        let template = *matched.value;
        if let Cow::Owned(normal) = normal {
            params.refer_to(normal);
        }
        Ok(self.found(method, template, params))
    }

    /// What belongs to a method of a path with this template.
    #[expect(clippy::inline_always, reason = "parameters are large, and mostly none")]
    #[inline(always)]
    fn found(&self, method: &Method, template: usize, params: Params) -> Found<'_, T> {
        let Some(entry) = self.entries.get(template) else { return Found::Missing };
        match entry.value(method) {
            Some(value) => Found::Route { value, template, params },
            None if *method == Method::OPTIONS => Found::Options(&entry.allow),
            None => Found::WrongMethod(&entry.allow),
        }
    }

    /// The templates, in the order in which they were added.
    pub fn templates(&self) -> &Arc<[Template]> {
        &self.templates
    }
}

impl<T> Entry<T> {
    #[inline]
    fn value(&self, method: &Method) -> Option<&T> {
        let own = |wanted: &Method| {
            self.methods.iter().find(|(known, _)| known == wanted).map(|(_, value)| value)
        };
        own(method)
            // https://www.rfc-editor.org/rfc/rfc9110#section-9.3.2
            .or_else(|| if *method == Method::HEAD { own(&Method::GET) } else { None })
            .or(self.any.as_ref())
    }
}

/// Lengths first: most paths that differ differ there.
fn by_length(a: &[u8], b: &[u8]) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate { method: Some(method), template } => {
                write!(f, "route {method} {template} is there twice")
            }
            Self::Duplicate { method: None, template } => {
                write!(f, "route {template} for every method is there twice")
            }
            Self::Conflict { template, with } => {
                write!(f, "route {template} matches the same paths as {with}")
            }
            Self::Malformed { template } if !template.starts_with('/') => {
                write!(f, "route {template:?} is malformed: it must begin with a slash")
            }
            Self::Malformed { template } => write!(
                f,
                "route {template:?} is malformed: a parameter is a whole segment, {{name}}, or {{*name}} at the \
                 end, each name once; no dot segments, no bytes that no path has"
            ),
        }
    }
}

impl core::error::Error for RouteError {}

/// The names between the braces; `None` where they make no sense.
fn names(template: &str) -> Option<Box<[Box<str>]>> {
    let mut names: Vec<Box<str>> = Vec::new();
    let segments = template.strip_prefix('/')?.split('/');
    for segment in segments {
        let literal = segment.replace("{{", "").replace("}}", "");
        if !literal.contains(['{', '}']) {
            continue;
        }
        // A parameter is a whole segment.
        let name = segment.strip_prefix('{')?;
        let name = name.strip_suffix('}')?;
        let name = name.strip_prefix('*').unwrap_or(name);
        if name.is_empty()
            || name.contains(['{', '}'])
            || names.iter().any(|known| **known == *name)
        {
            return None;
        }
        names.push(name.into());
    }
    Some(names.into())
}

/// The value of `Allow`: the methods that have routes, and those that are answered without one.
fn allow(methods: impl Iterator<Item = Method>) -> HeaderValue {
    let mut all: Vec<Method> = methods.collect();
    if all.contains(&Method::GET) {
        all.push(Method::HEAD);
    }
    all.push(Method::OPTIONS);
    all.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    all.dedup();
    let text = all.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
    // Methods are tokens, so this cannot fail.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("OPTIONS"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(routes: &[(Method, &str)]) -> Router<usize> {
        let mut builder = RouterBuilder::new();
        for (i, (method, template)) in routes.iter().enumerate() {
            builder.route(method.clone(), template, i).unwrap();
        }
        builder.build()
    }

    fn found(
        router: &Router<usize>,
        method: &Method,
        path: &str,
    ) -> Option<(usize, Vec<(String, String)>)> {
        let Found::Route { value, template, params } = router.find(method, path).unwrap() else {
            return None;
        };
        let pairs = params.iter(&router.templates()[template], path);
        Some((*value, pairs.map(|(name, value)| (name.to_owned(), value.into())).collect()))
    }

    #[test]
    fn static_segments_win_and_parameters_are_decoded_once() {
        let get = Method::GET;
        let router = router(&[
            (Method::GET, "/api/{id}"),
            (Method::GET, "/api/me"),
            (Method::GET, "/files/{owner}/{*rest}"),
        ]);
        assert_eq!(found(&router, &get, "/api/me"), Some((1, vec![])));
        assert_eq!(found(&router, &get, "/api/%6de"), Some((1, vec![])));
        let one = |value: &str| Some((0, vec![("id".into(), value.to_owned())]));
        assert_eq!(found(&router, &get, "/api/42"), one("42"));
        assert_eq!(found(&router, &get, "/api/a%2Fb"), one("a/b"));
        assert_eq!(found(&router, &get, "/api/a%252Fb"), one("a%2Fb"));
        assert_eq!(found(&router, &get, "/api/a/b"), None);
        assert_eq!(
            found(&router, &get, "/files/x/a/b.txt"),
            Some((2, vec![("owner".into(), "x".into()), ("rest".into(), "a/b.txt".into())]))
        );
        assert_eq!(router.find(&get, "/api/..").err(), Some(BadPath::DotSegment));
    }

    #[test]
    fn a_path_that_is_a_template_is_found_like_any_other() {
        let get = Method::GET;
        let templates = ["/", "/a", "/b", "/{{a}}", "/{{a}}/{x}", "/caf%C3%A9", "/a%2fb", "/{x}"];
        let router = router(&templates.map(|template| (Method::GET, template)));
        for (path, route) in [
            ("/", 0),
            ("/a", 1),
            ("/%61", 1),
            ("/b", 2),
            ("/{a}", 3),
            ("/%7Ba%7D", 3),
            ("/caf%C3%A9", 5),
            ("/a%2Fb", 6),
            ("/a%2fb", 6),
        ] {
            assert_eq!(found(&router, &get, path), Some((route, vec![])), "{path}");
        }
        assert_eq!(found(&router, &get, "/c").map(|found| found.0), Some(7));
        assert!(matches!(router.find(&Method::PUT, "/a"), Ok(Found::WrongMethod(_))));
        assert_eq!(router.find(&get, b"/caf\xc3").err(), Some(BadPath::Utf8));
        assert!(matches!(
            router.find(&get, "/café".as_bytes()),
            Ok(Found::Route { template: 5, .. })
        ));
    }

    #[test]
    fn head_is_a_get_and_methods_are_told() {
        let router = router(&[(Method::GET, "/a"), (Method::PUT, "/a"), (Method::POST, "/b")]);
        assert_eq!(found(&router, &Method::HEAD, "/a").map(|found| found.0), Some(0));
        for (method, path, wanted) in [
            (Method::POST, "/a", "GET, HEAD, OPTIONS, PUT"),
            (Method::OPTIONS, "/a", "GET, HEAD, OPTIONS, PUT"),
            (Method::HEAD, "/b", "OPTIONS, POST"),
            (Method::OPTIONS, "*", "GET, HEAD, OPTIONS, POST, PUT"),
        ] {
            match router.find(&method, path).unwrap() {
                Found::Options(allow) if method == Method::OPTIONS => assert_eq!(allow, wanted),
                Found::WrongMethod(allow) => assert_eq!(allow, wanted),
                found => panic!("{found:?}"),
            }
        }
    }

    #[test]
    fn routes_that_contradict_each_other_are_refused() {
        let mut builder = RouterBuilder::new();
        builder.route(Method::GET, "/a/{x}", 0).unwrap();
        builder.route(Method::PUT, "/a/{x}", 1).unwrap();
        let error = builder.route(Method::GET, "/a/{x}", 2).unwrap_err();
        assert!(matches!(error, RouteError::Duplicate { .. }), "{error}");
        let error = builder.route(Method::GET, "", 3).unwrap_err();
        let said = "route \"\" is malformed: it must begin with a slash";
        assert_eq!(error.to_string(), said);
        let error = builder.route(Method::GET, "/v{a}", 3).unwrap_err();
        let said = "route \"/v{a}\" is malformed: a parameter is a whole segment, {name},";
        assert!(error.to_string().starts_with(said), "{error}");
        let error = builder.route(Method::GET, "/a/{y}", 3).unwrap_err();
        assert!(matches!(error, RouteError::Conflict { .. }), "{error}");
        for template in ["a", "", "/{", "/{}", "/{*rest}/x", "/{a}/{a}", "/../x", "/v{a}"] {
            let error = builder.route(Method::GET, template, 4).unwrap_err();
            assert!(matches!(error, RouteError::Malformed { .. }), "{template}: {error}");
        }
    }

    #[test]
    fn more_parameters_than_fit_inline() {
        let router = router(&[(Method::GET, "/{a}/{b}/{c}/{d}/{e}")]);
        let values: Vec<String> = found(&router, &Method::GET, "/1/2/3/4/5")
            .unwrap()
            .1
            .into_iter()
            .map(|p| p.1)
            .collect();
        assert_eq!(values, ["1", "2", "3", "4", "5"]);
    }
}
