//! The schema and its versions. A step, once released, is never changed; a change is a new step.

use rusqlite::{Connection, TransactionBehavior};

use super::StoreError;

/// The version this program writes.
pub const VERSION: u32 = 1;

/// Step `n` leads from version `n` to `n + 1`.
const STEPS: [&str; VERSION as usize] = [include_str!("schema_1.sql")];

pub(super) fn upgrade(connection: &mut Connection) -> Result<(), StoreError> {
    let found = version(connection)?;
    if found > VERSION {
        return Err(StoreError::Newer { found });
    }
    if found == VERSION {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another program may have upgraded it while this one waited.
    let found = version(&transaction)?;
    for step in STEPS.iter().skip(found as usize) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", VERSION)?;
    Ok(transaction.commit()?)
}

fn version(connection: &Connection) -> Result<u32, StoreError> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}
