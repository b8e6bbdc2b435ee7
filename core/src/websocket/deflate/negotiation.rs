//! Who compresses how: <https://www.rfc-editor.org/rfc/rfc7692#section-7.1>

use super::{Deflate, DeflateConfig, Takeover, Window};
use crate::websocket::handshake::extension::Extension;

/// The parameters of an offer or an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Parameters {
    server: Side,
    client: Side,
}

/// What is said about the messages of one side.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Side {
    takeover: Takeover,
    bits: Bits,
}

/// `server_max_window_bits` or `client_max_window_bits`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Bits {
    #[default]
    Unsaid,
    /// Without a value: the client can do with fewer, if the server says so.
    Any,
    /// From 8 to 15.
    AtMost(u8),
}

impl DeflateConfig {
    /// The client's offer.
    pub(in crate::websocket) fn offer(&self) -> String {
        let bits = |window: Window, default| match window.bits {
            Window::MAX_BITS => default,
            bits => Bits::AtMost(bits),
        };
        Parameters {
            server: Side {
                takeover: self.incoming.takeover,
                bits: bits(self.incoming, Bits::Unsaid),
            },
            client: Side { takeover: self.outgoing.takeover, bits: bits(self.outgoing, Bits::Any) },
        }
        .to_string()
    }

    /// Takes the first of a client's offers that can be met, and says how it is answered. What
    /// cannot be met is declined: the connection goes on without.
    pub(in crate::websocket) fn accept(
        &self,
        offered: &[Extension<'_>],
    ) -> Option<(Deflate, String)> {
        offered.iter().find_map(|offer| {
            let offer = Parameters::read(offer)?;
            let answer = Parameters {
                server: Side {
                    takeover: forgetful(offer.server.takeover, self.outgoing.takeover),
                    bits: match offer.server.bits {
                        // Deflate cannot do it.
                        Bits::AtMost(bits) if bits < Window::MIN_BITS => return None,
                        Bits::AtMost(bits) => Bits::AtMost(bits.min(self.outgoing.bits)),
                        Bits::Unsaid => said(self.outgoing.bits),
                        Bits::Any => return None,
                    },
                },
                client: Side {
                    takeover: forgetful(offer.client.takeover, self.incoming.takeover),
                    bits: match offer.client.bits {
                        // https://www.rfc-editor.org/rfc/rfc7692#section-7.1.2.2: a client that
                        // does not ask for it need not understand it.
                        Bits::Unsaid => Bits::Unsaid,
                        Bits::Any => said(self.incoming.bits),
                        Bits::AtMost(bits) => Bits::AtMost(bits.min(self.incoming.bits)),
                    },
                },
            };
            let deflate = Deflate {
                outgoing: answer.server.window(),
                incoming: answer.client.window(),
                level: self.level,
                threshold: self.threshold,
            };
            Some((deflate, answer.to_string()))
        })
    }

    /// Takes the server's answer to our offer, unless it is no answer to it.
    pub(in crate::websocket) fn confirm(&self, answer: &Extension<'_>) -> Option<Deflate> {
        let answer = Parameters::read(answer)?;
        // https://www.rfc-editor.org/rfc/rfc7692#section-7.1.1.1
        if self.incoming.takeover == Takeover::Forget && answer.server.takeover == Takeover::Keep {
            return None;
        }
        // https://www.rfc-editor.org/rfc/rfc7692#section-7.1.2.1
        match answer.server.bits {
            Bits::Any => return None,
            Bits::Unsaid if self.incoming.bits < Window::MAX_BITS => return None,
            Bits::AtMost(bits) if bits > self.incoming.bits => return None,
            Bits::Unsaid | Bits::AtMost(_) => {}
        }
        // https://www.rfc-editor.org/rfc/rfc7692#section-7.1.2.2
        let mut outgoing = answer.client.window();
        match answer.client.bits {
            Bits::Any => return None,
            Bits::Unsaid => outgoing.bits = self.outgoing.bits,
            Bits::AtMost(bits) => outgoing.bits = bits.min(self.outgoing.bits),
        }
        outgoing.takeover = forgetful(outgoing.takeover, self.outgoing.takeover);
        // A window that deflate cannot do is agreed on all the same: messages may be sent as they
        // are.
        let threshold = if outgoing.bits < Window::MIN_BITS { usize::MAX } else { self.threshold };
        let incoming = answer.server.window();
        Some(Deflate { outgoing, incoming, level: self.level, threshold })
    }
}

/// Whether either wants it forgotten.
fn forgetful(a: Takeover, b: Takeover) -> Takeover {
    if a == Takeover::Forget { a } else { b }
}

/// 15 is what nobody needs to say.
fn said(bits: u8) -> Bits {
    if bits < Window::MAX_BITS { Bits::AtMost(bits) } else { Bits::Unsaid }
}

impl Side {
    fn window(self) -> Window {
        let bits = match self.bits {
            Bits::Unsaid | Bits::Any => Window::MAX_BITS,
            Bits::AtMost(bits) => bits,
        };
        Window { bits, takeover: self.takeover }
    }
}

impl Parameters {
    /// `None` for another extension, and for a parameter that is unknown, doubled or malformed.
    fn read(extension: &Extension<'_>) -> Option<Self> {
        if extension.name != b"permessage-deflate" {
            return None;
        }
        let mut all = Self::default();
        for (at, (name, value)) in extension.parameters.iter().enumerate() {
            if extension.parameters[..at].iter().any(|(other, _)| other == name) {
                return None;
            }
            match (*name, *value) {
                (b"server_no_context_takeover", None) => all.server.takeover = Takeover::Forget,
                (b"client_no_context_takeover", None) => all.client.takeover = Takeover::Forget,
                (b"client_max_window_bits", None) => all.client.bits = Bits::Any,
                (b"server_max_window_bits", Some(bits)) => all.server.bits = at_most(bits)?,
                (b"client_max_window_bits", Some(bits)) => all.client.bits = at_most(bits)?,
                _ => return None,
            }
        }
        Some(all)
    }
}

/// A number from 8 to 15 without leading zeros.
fn at_most(digits: &[u8]) -> Option<Bits> {
    match digits {
        [digit @ (b'8' | b'9')] => Some(Bits::AtMost(digit - b'0')),
        [b'1', digit @ b'0'..=b'5'] => Some(Bits::AtMost(10 + digit - b'0')),
        _ => None,
    }
}

impl core::fmt::Display for Parameters {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("permessage-deflate")?;
        for (name, side) in [("server", self.server), ("client", self.client)] {
            if side.takeover == Takeover::Forget {
                write!(f, "; {name}_no_context_takeover")?;
            }
            match side.bits {
                Bits::Unsaid => {}
                Bits::Any => write!(f, "; {name}_max_window_bits")?,
                Bits::AtMost(bits) => write!(f, "; {name}_max_window_bits={bits}")?,
            }
        }
        Ok(())
    }
}
