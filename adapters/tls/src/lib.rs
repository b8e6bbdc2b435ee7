//! TLS for sinew: rustls as a wire stacked on a wire, with mutual TLS and typed peer identity.
