//! Options from environment variables, and what an error of the command line may show.
//!
//! An address may hold a password. This file keeps it out of `--help` and of error messages, wherever the user wrote it.

use std::env;

use clap::{
    Command,
    error::{ContextKind, ContextValue, Error},
};

/// Makes options ignore variables that are set but empty, as a compose file or a chart leaves them, and hides the
/// variables' values in `--help`: an address may hold a password.
///
/// Goes through all subcommands.
pub(super) fn prepared(command: Command) -> Command {
    // Names first: a command can't be changed while its subcommands are borrowed.
    let names: Vec<_> = command
        .get_subcommands()
        .map(|it| it.get_name().to_owned())
        .collect();
    let command = command.mut_args(|arg| {
        let value = arg.get_env().and_then(env::var_os);
        match value.is_some_and(|it| it.to_string_lossy().trim().is_empty()) {
            true => arg.env(None::<&str>),
            false => arg.hide_env_values(true),
        }
    });
    names.into_iter().fold(command, |command, name| {
        command.mut_subcommand(name, prepared)
    })
}

/// Returns what an option was given, as an error may show it: an address in the wrong option may hold a password.
///
/// An `@` may follow a password, a `?` may begin settings with one. Better to hide too much than
/// too little.
pub(super) fn shown(value: &str) -> &str {
    match value.contains('@') || value.trim_matches('/').contains('?') {
        true => "… (not shown: it may hold a password)",
        false => value,
    }
}

/// Takes addresses out of an error of clap: if the user forgets `--backplane`, clap would quote the address with its password.
pub(super) fn without_addresses(mut error: Error) -> Error {
    let kinds = [
        ContextKind::InvalidArg,
        ContextKind::InvalidValue,
        ContextKind::InvalidSubcommand,
    ];
    for kind in kinds {
        // Only what looks like an address: other mistakes are shown, as they help.
        let holds_address = error
            .get(kind)
            .is_some_and(|it| it.to_string().contains("://"));
        if holds_address {
            error.insert(kind, ContextValue::String("an address".to_owned()));
            // A suggestion may quote the value, too.
            error.remove(ContextKind::Suggested);
        }
    }
    error
}
