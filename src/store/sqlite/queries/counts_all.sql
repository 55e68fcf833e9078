SELECT queue, state, jobs FROM counts
