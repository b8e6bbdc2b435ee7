//! sinew on smol: RestServer and RestClient, and the runtime binding.
