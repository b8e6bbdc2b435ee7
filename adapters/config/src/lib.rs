//! A configuration file for sinew servers.
//!
//! The file is TOML, and says all that operators decide: where to listen, TLS, limits and timers, CORS,
//! credentials, access rules, quotas, what single routes do differently. Handlers are given in code.
//!
//! ```no_run
//! # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
//! use http::Method;
//! use sinew_config::Config;
//! use sinew_tokio::{Request, RestServer};
//!
//! let builder = RestServer::builder()
//!     .route(Method::GET, "/orders/{id}", async |_: Request| "an order");
//! let server = Config::from_file("server.toml")?.apply(builder)?.bind().await?;
//! server.serve().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Who has the last word
//!
//! First the defaults, then what the program says to the builder, then the file: [`Config::apply`] takes
//! a builder that has its routes. What the file does not mention stays as it is.
//!
//! - `[server]`, `[limits]`, `[timers]`, `[drain]`, `[admin]` and `[[route]]`: setting by setting.
//! - `[tls]`, `[proxies]`, `[proxy_protocol]`, `[cors]`, `[rate_limit]`, `[shared_quota]`, `[overload]`, `[memory]`,
//!   `[decompression]`, `[compression]`, `[audit]`: a section
//!   replaces what the program says as a whole; its own settings start from their defaults.
//! - `[authentication]`: its credentials are asked after those of the program; its realm and its modes
//!   replace those.
//! - `[access]`: its rules are added to those of the program. What any rule denies is refused.
//!
//! What the program says after `apply` is said last.
//!
//! # The grammar of values
//!
//! - A time is a string, `1*DIGIT unit` with a unit of `us`, `ms`, `s`, `m`, `h` or `d`: `"30s"`,
//!   `"250ms"`. More than 584 years are refused.
//! - Sizes are integers, in bytes.
//! - A quota is a table of `count`, `period` and `burst`: `{ count = 100, period = "1m", burst = 20 }`.
//! - `"none"` switches off what can be switched off.
//! - `mode` of a policy is `"enforce"`, `"shadow"` (its verdicts are told to the observer, and not
//!   obeyed) or `"off"`.
//! - Paths of files are relative to the file that names them.
//!
//! A key, `key_file` or `key_env`, is read from its file or environment variable and hashed at once; no
//! secret stands in the file, is shown by `Debug`, or quoted in an error.
//!
//! `[shared_quota]` has its clients counted by Redis or Valkey, and needs the feature `redis`.
//!
//! Every setting, with its default and unit, stands in `adapters/examples/server.toml`.

mod document;
mod problem;
mod section;
mod value;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use sinew_driver::{Mode, RestServerConfig, Runtime, SecurityPolicy, ServerBuilder};

use self::document::Document;
pub use self::problem::{Place, Problem, Problems};
use self::section::{
    Compression, Decompression, Drain, File, Limits, Memory, Timers, apply_routes, check_rate_limit,
};

/// A file that could be read. Whether it makes sense turns out when it is [applied](Self::apply) to a
/// server.
#[derive(Clone)]
pub struct Config {
    name: String,
    /// Paths are relative to it.
    base: PathBuf,
    text: String,
    file: File,
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// All that cannot be read: mistakes of syntax, settings that nobody knows, values of a wrong
    /// type.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, Problems> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|error| {
            let why = match error.kind() {
                ErrorKind::InvalidData => "not UTF-8 text".to_owned(),
                kind => format!("cannot read the file: {kind}"),
            };
            let problem = Problem { setting: String::new(), place: None, why, known: Vec::new() };
            Problems { file: name.clone(), list: vec![problem] }
        })?;
        let base = path.parent().map(Path::to_path_buf).unwrap_or_default();
        Self::parse(&name, base, text)
    }

    /// Reads text. `name` stands in front of what is wrong with it; paths in it are relative to
    /// `base`.
    ///
    /// # Errors
    ///
    /// As for [`from_file`](Self::from_file).
    pub fn parse(
        name: &str,
        base: impl Into<PathBuf>,
        text: impl Into<String>,
    ) -> Result<Self, Problems> {
        let text = text.into();
        let mut document = Document::parse(name, &text);
        let file = document.read();
        document.finish()?;
        Ok(Self { name: name.to_owned(), base: base.into(), file: file.unwrap_or_default(), text })
    }

    /// Gives a server what the file says. The routes and the admin surface of the program have to be
    /// there already.
    ///
    /// # Errors
    ///
    /// All that makes no sense: settings that contradict each other, rules and sections about routes
    /// that the program does not have, files that cannot be read. What needs a socket to be found out
    /// is told by [`bind`](ServerBuilder::bind).
    pub fn apply<R: Runtime, M: Mode>(
        &self,
        mut builder: ServerBuilder<R, M>,
    ) -> Result<ServerBuilder<R, M>, Problems> {
        let mut document = Document::parse(&self.name, &self.text);
        let file = &self.file;
        if let Some(listen) = &file.server.listen {
            if listen.is_empty() {
                document.refuse("server.listen", "the server listens nowhere");
            }
            builder = builder.listen_only(listen.iter().map(|place| place.value.0.clone()));
        }
        builder = self.apply_settings(builder, &mut document);
        let config = builder.config_mut();
        if let Some(section) = &file.memory {
            config.memory = section.build(&mut document);
        }
        if let Some(section) = &file.decompression {
            config.decompression = section.build(&mut document);
        }
        if let Some(section) = &file.compression {
            config.compression = section.build(&mut document);
        }
        if let Some(admin) = &file.admin {
            builder = apply_admin(admin, builder, &mut document);
        }
        apply_routes(&file.route, &mut document, &mut builder);
        if let Some(proxies) = &file.proxies {
            builder = builder.trusted_proxies(proxies.build());
        }
        if let Some(proxies) = &file.proxy_protocol {
            builder = builder.proxy_protocol(proxies.build(&mut document));
        }
        if let Some((mode, cors)) = file.cors.as_ref().and_then(|cors| cors.build(&mut document)) {
            builder = builder.cors_in(mode, cors);
        }
        if let Some(limits) = &file.rate_limit {
            let (mode, limits) = limits.build(&mut document);
            builder = builder.rate_limit_in(mode, limits);
        }
        #[cfg(feature = "redis")]
        if let Some(shared) = &file.shared_quota
            && let Some((mode, shared)) = shared.build(&self.base, &mut document, builder.runtime())
        {
            builder = builder.shared_quota_in(mode, shared);
        }
        if let Some(overload) = &file.overload {
            let (config, classes) = overload.build(&mut document);
            builder = builder.overload(config).classes(classes);
        }
        if let Some(validation) = &file.validation {
            builder = builder.validation_mode(validation.mode());
        }
        if let Some(section) = &file.authentication {
            let change = section.build(&self.base, &mut document, builder.runtime());
            builder = builder.amend_security(change);
        }
        if let Some(access) = &file.access {
            let templates: Vec<String> =
                builder.routes_mut().map(|(_, template, _)| template.to_owned()).collect();
            let rules = access.build(&mut document, &templates);
            builder = builder.amend_security(|policy| {
                let policy = policy.access_mode(access.mode()).explain(access.explain());
                rules.into_iter().fold(policy, SecurityPolicy::rule)
            });
        }
        check_rate_limit(file, &mut document, &mut builder);
        if let Some(audit) =
            file.audit.as_ref().and_then(|audit| audit.build(&self.base, &mut document))
        {
            builder = builder.audit(audit);
        }
        document.finish()?;
        Ok(builder)
    }

    fn apply_settings<R: Runtime, M: Mode>(
        &self,
        mut builder: ServerBuilder<R, M>,
        document: &mut Document<'_>,
    ) -> ServerBuilder<R, M> {
        let file = &self.file;
        let config = builder.config_mut();
        file.limits.apply(config);
        file.timers.apply(config);
        file.drain.apply(&mut config.drain);
        for bad in config.problems() {
            let sections = [("limits", Limits::NAMES), ("timers", Timers::NAMES)];
            let named = sections.iter().find(|(_, names)| names.contains(&bad.setting));
            match named {
                Some((section, _)) => {
                    document.refuse(&format!("{section}.{}", bad.setting), bad.why);
                }
                None => document.refuse(bad.setting, bad.why),
            }
        }
        if let Some(tls) = &file.tls {
            config.allow_plaintext = false;
            config.mtls_config = tls.build(&self.base, document);
        }
        match (&file.tls, file.server.plaintext) {
            (Some(_), Some(true)) => {
                document.refuse("server.plaintext", "both TLS and plaintext are asked for");
            }
            (None, Some(plaintext)) => {
                config.allow_plaintext = plaintext;
                config.mtls_config.take_if(|_| plaintext);
            }
            _ => {}
        }
        builder
    }

    /// The settings that are in force on a server of this configuration, as a file; no secret is in
    /// it. What the program gives in code is in it as far as it is in a [`RestServerConfig`].
    pub fn in_force(&self, config: &RestServerConfig) -> String {
        let mut file = self.file.clone();
        file.limits = Limits::of(config);
        file.timers = Timers::of(config);
        file.drain = Drain::of(config.drain);
        file.memory = Some(Memory::of(config.memory));
        file.decompression = Some(Decompression::of(config.decompression));
        file.compression = Some(Compression::of(config.compression));
        file.server.plaintext = Some(config.allow_plaintext);
        // Tables and strings can be written, whatever is in them.
        toml::to_string(&file).unwrap_or_default()
    }
}

impl fmt::Debug for Config {
    /// Without the text, in which hashes of keys stand.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Config");
        debug.field("name", &self.name).field("file", &self.file).finish_non_exhaustive()
    }
}

fn apply_admin<R: Runtime, M: Mode>(
    admin: &section::Admin,
    builder: ServerBuilder<R, M>,
    document: &mut Document<'_>,
) -> ServerBuilder<R, M> {
    if !builder.has_admin() {
        document.refuse("admin", "the program has nothing for operators");
    }
    if admin.max_connections == Some(0) {
        document.refuse("admin.max_connections", "is 0: nobody could connect");
    }
    let places = admin.listen.as_ref();
    let places = places.map(|list| list.iter().map(|place| place.value.0.clone()));
    if admin.listen.as_ref().is_some_and(Vec::is_empty) {
        document.refuse("admin.listen", "the admin surface listens nowhere");
    }
    if admin.public && places.is_some() {
        document.refuse("admin.public", "a public admin surface has no listeners of its own");
    }
    builder.amend_admin(|mut surface| {
        if let Some(connections) = admin.max_connections {
            surface = surface.max_connections(connections);
        }
        match places {
            _ if admin.public => surface.listen_only(Vec::<String>::new()).public(),
            Some(places) => surface.listen_only(places),
            None => surface,
        }
    })
}
