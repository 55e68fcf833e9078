//! What the headers alone say: the signatures that are shown, and what of them was signed before the body. A request that shows
//! none which could ever match is known to be a forgery before a byte of its body is read.

use super::{Rejection, key, key::Key};

/// Text form of an HMAC-SHA256, and what a text in that form looks like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Encoding {
    pub encode: fn([u8; 32]) -> String,
    pub fits: fn(&str) -> bool,
}

/// Signatures that may match once the body is here.
#[derive(Debug)]
pub(super) struct Claim<'h> {
    /// What is signed in front of the body.
    before_body: Vec<&'h [u8]>,
    candidates: Vec<&'h str>,
    encoding: Encoding,
}

impl<'h> Claim<'h> {
    /// # Errors
    /// `NoSignature` when there are no candidates, `Mismatch` when none has the form of a signature.
    pub fn new(before_body: Vec<&'h [u8]>, mut candidates: Vec<&'h str>, encoding: Encoding) -> Result<Self, Rejection> {
        if candidates.is_empty() {
            return Err(Rejection::NoSignature);
        }
        candidates.retain(|candidate| (encoding.fits)(candidate));
        if candidates.is_empty() {
            return Err(Rejection::Mismatch);
        }
        Ok(Self { before_body, candidates, encoding })
    }

    /// Which of the keys signed this body.
    pub fn verify(&self, keys: &[Key], body: &[u8]) -> Result<usize, Rejection> {
        let parts: Vec<&[u8]> = self.before_body.iter().copied().chain([body]).collect();
        key::matching(keys, &parts, self.encoding.encode, &self.candidates).ok_or(Rejection::Mismatch)
    }
}
