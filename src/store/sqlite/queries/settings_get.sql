SELECT settings FROM settings WHERE one = 1
