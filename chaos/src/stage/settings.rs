//! What an operator sets up: the cluster, and its policies, which a lost database takes with it.

use serde_json::{Value, json};
use stillframe_api::{
    channel_state::ChannelState, cluster::CreateCluster, retention::Retention, schedule::PutSchedule, settings::UpdateCluster,
};
use stillframe_protocol::name::ScheduleName;

use super::Stage;
use crate::plan::Shape;

/// How many committed snapshots the retention keeps, besides those that are held: so many that an older one can be restored, so few that the
/// bucket stays small however long a run is.
const KEEP_LAST: u32 = 12;

/// Makes the cluster.
///
/// # Panics
///
/// When it can't be made.
pub async fn make_cluster(stage: &Stage, shape: Shape) {
    // As JSON, so that settings this program doesn't care about have their defaults.
    let create = json!({
        "name": "bank", "min_members": shape.members, "snapshot_timeout": "10s", "on_loss": "restore_latest",
        "rollback": rollback(),
    });
    let create: CreateCluster = serde_json::from_value(create).expect("a cluster's settings");
    let made = stage.client(0).create_cluster(&create).await;
    made.unwrap_or_else(|error| panic!("the cluster can't be made: {error}"));
}

/// Members are lost all the time here: any number of rollbacks, and none of them put off for long.
fn rollback() -> Value {
    json!({ "limit": 0, "window": "10s", "backoff": "100ms" })
}

/// Says who is to put the messages under way into snapshots, from the next generation on.
///
/// # Errors
/// When that is refused.
pub async fn set_channel_state(stage: &Stage, channel_state: ChannelState) -> Result<(), String> {
    let changes = UpdateCluster { channel_state: Some(channel_state), ..UpdateCluster::default() };
    let changed = stage.client(0).update_cluster(&stage.cluster, &changes).await;
    changed.map(drop).map_err(|error| format!("the channel state {channel_state} is refused: {error}"))
}

/// Gives a rebuilt cluster the settings that it had.
///
/// # Errors
/// When they are refused.
///
/// # Panics
///
/// Never: the settings are some.
pub async fn set_again(stage: &Stage) -> Result<(), String> {
    let changes = json!({ "snapshot_timeout": "10s", "rollback": rollback() });
    let changes: UpdateCluster = serde_json::from_value(changes).expect("a cluster's settings");
    let client = stage.client(0);
    client.update_cluster(&stage.cluster, &changes).await.map_err(|error| format!("the settings are refused: {error}"))?;
    put_policies(stage).await
}

/// Sets schedules and retention.
///
/// # Errors
/// When they are refused.
///
/// # Panics
///
/// Never: the names are some.
pub async fn put_policies(stage: &Stage) -> Result<(), String> {
    let client = stage.client(0);
    for (name, every) in [("often", "700ms"), ("seldom", "5s")] {
        let name: ScheduleName = name.parse().expect("a schedule's name");
        let schedule: PutSchedule = serde_json::from_value(json!({ "every": every })).expect("a schedule");
        let put = client.put_schedule(&stage.cluster, &name, &schedule).await;
        put.map_err(|error| format!("the schedule {name} can't be set: {error}"))?;
    }
    let retention = Retention { keep_last: Some(KEEP_LAST), ..Retention::empty() };
    let put = client.put_retention(&stage.cluster, &retention).await;
    put.map(drop).map_err(|error| format!("the retention can't be set: {error}"))
}
