//! A hash that is the same in every build: what two runs are compared by.

use core::hash::Hasher;

/// A hash of everything that was decided, in its order. Anybody can find two inputs with the same one.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Digest(u64);

impl Hasher for Digest {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_u16(&mut self, value: u16) {
        self.write_u64(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        let mixed = (self.0.rotate_left(23) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    #[expect(clippy::cast_sign_loss, reason = "which variant it is, not a number")]
    fn write_isize(&mut self, value: isize) {
        self.write_u64(value as u64);
    }
}
