SELECT d.child FROM dependencies d JOIN jobs c ON c.seq = d.child WHERE d.parent = ?1 AND c.state = 'parked'
