//! sinew on tokio: RestServer and RestClient, and the runtime binding.
