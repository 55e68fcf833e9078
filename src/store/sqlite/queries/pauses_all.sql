SELECT queue, at, by, reason FROM pauses
