//! Examples of sinew, and the integration tests that run on every adapter.
