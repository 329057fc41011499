//! Callbacks of OpenIM and Tencent over a store in memory: answers, the ledger behind them, and the
//! order of callbacks that overtake each other.

mod openim;
mod order;
mod sender;
mod tencent;
