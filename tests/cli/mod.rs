//! The doors for people: the configuration, the command line, the daemon as a process.

mod configuration;
