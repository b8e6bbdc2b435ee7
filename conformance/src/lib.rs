//! Conformance cases and the command sinew: serve, check.
