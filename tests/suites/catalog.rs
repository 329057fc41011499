//! The catalog: the built-in numbers, what is reported about a wrong file, and reloading.

mod broken;
mod builtin;
mod watching;
