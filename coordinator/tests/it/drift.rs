//! What is committed and generated is what the code says.

use std::path::{Path, PathBuf};

use serde_json::Value;
use sqlx::{Column, Connection, Either, Executor, PgConnection, SqlSafeStr, TypeInfo};
use stillframe_coordinator::store::postgres::MIGRATOR;
use stillframe_private_postgres::testing::TestDatabase;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn openapi_yaml_is_what_the_routes_say() {
    let path = root().join("openapi.yaml");
    let expected = stillframe_coordinator::openapi().to_yaml().expect("YAML");
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(&path, &expected).expect("written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "openapi.yaml isn't what the routes say: run the tests once with UPDATE_OPENAPI=1 and commit it");
}

#[tokio::test]
async fn every_query_in_the_compile_time_data_fits_the_migrated_schema() {
    let database = TestDatabase::create().await;
    let mut connection = PgConnection::connect(database.url()).await.expect("a connection");
    MIGRATOR.run(&mut connection).await.expect("migrated");
    let mut queries = 0;
    for entry in std::fs::read_dir(root().join(".sqlx")).expect(".sqlx") {
        let path = entry.expect("an entry").path();
        let data: Value = serde_json::from_slice(&std::fs::read(&path).expect("read")).expect("JSON");
        let text = data["query"].as_str().expect("a query").to_owned();
        let described = connection.describe(sqlx::AssertSqlSafe(text.clone()).into_sql_str()).await;
        let described = described.unwrap_or_else(|error| panic!("{error}\nrun `cargo sqlx-prepare`; the query was\n{text}"));
        let columns: Vec<String> = described.columns().iter().map(|c| c.type_info().name().to_uppercase()).collect();
        let names: Vec<&str> = described.columns().iter().map(|c| c.name()).collect();
        let expected = |field: &str| -> Vec<String> {
            let columns = data["describe"]["columns"].as_array().expect("columns");
            columns.iter().map(|c| c[field].as_str().map(str::to_owned).unwrap_or_else(|| c[field].to_string())).collect()
        };
        assert_eq!(names, expected("name"), "{text}");
        let types: Vec<String> = expected("type_info").iter().map(|t| t.to_uppercase()).collect();
        assert_eq!(columns, types, "{text}");
        let parameters: Vec<String> = match described.parameters() {
            Some(Either::Left(parameters)) => parameters.iter().map(|p| p.name().to_uppercase()).collect(),
            Some(Either::Right(_)) | None => Vec::new(),
        };
        let count = data["describe"]["parameters"]["Left"].as_array().map_or(0, Vec::len);
        assert_eq!(parameters.len(), count, "{text}");
        queries += 1;
    }
    assert!(queries > 30, "only {queries} queries in .sqlx");
}

/// Queries that no code asks any more are as misleading as missing ones.
#[test]
fn every_query_in_the_compile_time_data_is_still_asked() {
    fn sources(directory: &Path, into: &mut String) {
        for entry in std::fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                sources(&path, into);
            } else {
                into.push_str(&std::fs::read_to_string(&path).expect("source"));
            }
        }
    }
    let mut all = String::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/postgres"), &mut all);
    for entry in std::fs::read_dir(root().join(".sqlx")).expect(".sqlx") {
        let path = entry.expect("an entry").path();
        let data: Value = serde_json::from_slice(&std::fs::read(&path).expect("read")).expect("JSON");
        let text = data["query"].as_str().expect("a query");
        assert!(all.contains(text), "nobody asks {} any more: run `cargo sqlx-prepare`", path.display());
    }
}
