//! sinew on async-std: RestServer and RestClient, and the runtime binding.
