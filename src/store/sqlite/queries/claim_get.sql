SELECT nonce, holder FROM claims WHERE epoch = ?1
