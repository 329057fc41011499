//! The catalog: the built-in numbers, reports about invalid files, and reloading.

mod broken;
mod builtin;
mod selling;
mod watching;
