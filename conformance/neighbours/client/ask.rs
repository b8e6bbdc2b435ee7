//! One call, told as JSON: what a proxy answers by itself, and what the client makes of it.

use std::sync::{Arc, Mutex, PoisonError};

use http::Method;
use serde_json::{Map, Value, json};
use sinew_core::observe::Event;
use sinew_driver::{ClientBuilder, Runtime};

use crate::Failure;

#[derive(clap::Args)]
pub(crate) struct Ask {
    path: String,
    #[arg(long, default_value = "GET")]
    method: Method,
    /// NAME:VALUE, several times
    #[arg(long)]
    field: Vec<String>,
    /// The body
    #[arg(long)]
    body: Option<String>,
    /// Without retries
    #[arg(long)]
    once: bool,
}

impl Ask {
    /// Makes the call with the defaults of the client, and prints its status, its fields and its body, or its
    /// error; how many attempts it took, and why there was no further one.
    pub(crate) async fn run<R: Runtime>(
        self,
        builder: ClientBuilder<R>,
        runtime: R,
    ) -> Result<bool, Failure> {
        let refused = Arc::new(Mutex::new(Value::Null));
        let told = Arc::clone(&refused);
        let client = builder.observe(move |event| {
            if let Event::RetryRefused { why, .. } = event {
                *told.lock().unwrap_or_else(PoisonError::into_inner) = why.name().into();
            }
        });
        let client = client.build_on(runtime)?;
        let mut call = client.request(self.method, &self.path);
        for field in &self.field {
            let (name, value) = field.split_once(':').ok_or("a field is NAME:VALUE")?;
            call = call.header(name, value);
        }
        if let Some(body) = self.body {
            call = call.body(body);
        }
        if self.once {
            call = call.no_retry();
        }
        let mut told = match call.send().await {
            Ok(response) => {
                let (status, attempts) = (response.status().as_u16(), response.attempts());
                let fields: Map<String, Value> = response
                    .headers()
                    .iter()
                    .map(|(name, value)| {
                        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into())
                    })
                    .collect();
                let peer = response.peer_identity().map(|peer| peer.name().to_owned());
                let body = response.text().await?;
                json!({
                    "status": status, "attempts": attempts, "fields": fields, "server": peer, "body": body,
                })
            }
            Err(error) => json!({
                "error": error.to_string(),
                "attempts": error.attempts(),
                "delivery": format!("{:?}", error.delivery()),
            }),
        };
        // The answer may be told before what was decided about it.
        client.close(core::time::Duration::from_secs(1)).await;
        told["no_retry"] = refused.lock().unwrap_or_else(PoisonError::into_inner).take();
        println!("{told}");
        Ok(true)
    }
}
