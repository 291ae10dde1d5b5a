//! What the archive promises, on a directory and on a real S3 server over HTTP; and its formats.

mod damage;
mod fixture;
mod formats;
mod logged;
mod places;
mod probing;
mod s3_server;
mod uncertain;
mod writing;

use places::Place;

/// Runs the same promises on every kind of archive.
macro_rules! on_every_place {
    ($($module:ident::$promise:ident,)*) => {
        mod on_a_directory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                super::$module::$promise(super::Place::directory()).await;
            })*
        }

        mod on_s3 {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                super::$module::$promise(super::Place::s3().await).await;
            })*
        }
    };
}

on_every_place! {
    writing::an_archive_is_created_once_whoever_comes_first,
    writing::a_place_without_an_archive_is_not_opened,
    writing::an_archive_of_a_newer_format_is_refused,
    writing::objects_of_every_size_come_back_as_they_were,
    writing::a_key_is_never_written_with_other_bytes,
    writing::a_manifest_is_written_once_and_read_back,
    writing::manifests_are_listed_by_cluster_and_age,
    writing::a_manifest_under_a_foreign_key_is_refused,
    writing::nothing_of_a_deleted_snapshot_stays,
    damage::a_missing_object_is_found_and_named,
    damage::a_truncated_object_is_found_and_named,
    damage::a_corrupted_object_is_found_and_named,
    damage::an_object_that_lies_about_its_plain_length_is_found,
    damage::a_sound_snapshot_is_verified_from_the_archive_alone,
    damage::everything_that_is_wrong_with_a_snapshot_is_found,
    damage::a_part_that_could_not_be_restored_is_refused_before_it_is_taken,
    logged::what_its_sender_logged_and_its_receiver_had_not_is_in_flight,
    logged::logged_messages_that_are_not_those_of_the_manifest_are_found,
    uncertain::writers_that_race_agree_on_one_content,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_went_away_is_not_silently_made_anew() {
    writing::a_directory_that_went_away_is_not_silently_made_anew(Place::directory()).await;
}
