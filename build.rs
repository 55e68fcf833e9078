//! Writes the tokeniser's vocabulary, `o200k_base`, as bytes: the library brings it as base64 with written ranks, twice as much, and the binary
//! has to stay small. Each token is its length in a byte and its bytes; its rank is its place.

use std::{env, fs, path::Path};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let tokenizer = tiktoken_rs::o200k_base().expect("the library's own vocabulary");
    let mut vocabulary = Vec::with_capacity(2 << 20);
    // The special tokens have ranks of their own, behind a gap.
    for rank in 0.. {
        let Ok(token) = tokenizer.decode_bytes(&[rank]) else { break };
        let length = u8::try_from(token.len()).expect("no token of the vocabulary is longer");
        vocabulary.push(length);
        vocabulary.extend(token);
    }
    let folder = env::var_os("OUT_DIR").expect("cargo says where");
    fs::write(Path::new(&folder).join("o200k_base"), vocabulary).expect("the folder is cargo's own");
}
