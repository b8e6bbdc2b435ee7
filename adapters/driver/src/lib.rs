//! The one driver of sinew: RestServer and RestClient over any runtime.
