//! The role that serves requests: it reads and writes everything but the audit, to which it can only add.
//!
//! Migrations run as the user of the URL, who owns the tables. The pool's connections take the role on when they are opened. Where the user
//! may neither make the role nor take it on, they go on as the user, and the log says what to do once.

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::sqlstate;

/// The role's name. It is the server's, not the database's: what it may do is granted database by database.
pub const SERVING_ROLE: &str = "stillframe_serving";

/// What an administrator runs once, as a superuser, where the coordinator's own user may not.
fn one_time_sql(user: &str) -> String {
    format!("CREATE ROLE {SERVING_ROLE} NOLOGIN; GRANT {SERVING_ROLE} TO \"{}\";", user.replace('"', "\"\""))
}

/// Makes the role if it may, grants it what it needs in this database, and says whether connections can take it on.
pub(super) async fn prepare(connection: &mut PgConnection) -> Result<bool, String> {
    if let Err(error) = sqlx::raw_sql(AssertSqlSafe(make())).execute(&mut *connection).await {
        tracing::debug!(error = sqlstate::describe(&error), "the role {SERVING_ROLE} could not be made or granted");
    }
    // Owning the tables is what granting takes; whoever doesn't own them was granted the role by somebody who does.
    let granted =
        connection.transaction(|tx| Box::pin(async move { sqlx::raw_sql(AssertSqlSafe(grants())).execute(&mut **tx).await }));
    if let Err(error) = granted.await {
        tracing::debug!(error = sqlstate::describe(&error), "the role {SERVING_ROLE} could not be granted its rights");
    }
    match sqlx::raw_sql(AssertSqlSafe(format!("SET ROLE {SERVING_ROLE}; SELECT seq FROM audit_heads LIMIT 1; RESET ROLE")))
        .execute(&mut *connection)
        .await
    {
        Ok(_) => Ok(true),
        Err(error) if error.as_database_error().is_some() => {
            let user = sqlx::query_scalar!(r#"SELECT current_user::text AS "user!""#).fetch_one(connection).await;
            let user = user.map_err(|error| sqlstate::describe(&error))?;
            tracing::warn!(
                role = SERVING_ROLE,
                user,
                reason = sqlstate::describe(&error),
                "connections that serve requests could change the audit: run this once as a superuser, then start again: {}",
                one_time_sql(&user)
            );
            Ok(false)
        }
        Err(error) => Err(sqlstate::describe(&error)),
    }
}

/// Roles are the server's, so others may be making this one for other databases at the same moment.
fn make() -> String {
    format!(
        r"
        DO $$
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{SERVING_ROLE}') THEN
                BEGIN
                    CREATE ROLE {SERVING_ROLE} NOLOGIN;
                EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
                END;
            END IF;
            -- Since 16, to be a member isn't enough to take a role on.
            IF NOT pg_has_role(current_user, '{SERVING_ROLE}', CASE WHEN current_setting('server_version_num')::integer < 160000 THEN 'MEMBER' ELSE 'SET' END) THEN
                BEGIN
                    GRANT {SERVING_ROLE} TO CURRENT_USER;
                EXCEPTION WHEN unique_violation THEN NULL;
                END;
            END IF;
        END $$"
    )
}

/// Only what is missing: two replicas that grant the same at once would be in each other's way.
fn grants() -> String {
    format!(
        r"
        DO $$
        DECLARE
            place text := quote_ident(current_schema());
            it record;
        BEGIN
            PERFORM pg_advisory_xact_lock(7402183650127);
            IF NOT has_schema_privilege('{SERVING_ROLE}', current_schema(), 'USAGE') THEN
                EXECUTE format('GRANT USAGE ON SCHEMA %s TO {SERVING_ROLE}', place);
            END IF;
            FOR it IN SELECT c.oid, format('%s.%I', place, c.relname) AS name, c.relname IN ('audit', 'audit_heads', '_sqlx_migrations', 'collection_now') AS is_kept
                        FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v') LOOP
                IF it.is_kept THEN
                    IF has_table_privilege('{SERVING_ROLE}', it.oid, 'UPDATE, DELETE, TRUNCATE') THEN
                        EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON %s FROM {SERVING_ROLE}', it.name);
                    END IF;
                    IF NOT has_table_privilege('{SERVING_ROLE}', it.oid, 'SELECT') THEN
                        EXECUTE format('GRANT SELECT ON %s TO {SERVING_ROLE}', it.name);
                    END IF;
                ELSIF NOT (has_table_privilege('{SERVING_ROLE}', it.oid, 'SELECT') AND has_table_privilege('{SERVING_ROLE}', it.oid, 'INSERT')
                           AND has_table_privilege('{SERVING_ROLE}', it.oid, 'UPDATE') AND has_table_privilege('{SERVING_ROLE}', it.oid, 'DELETE')) THEN
                    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO {SERVING_ROLE}', it.name);
                END IF;
            END LOOP;
            IF NOT has_table_privilege('{SERVING_ROLE}', format('%s.audit', place), 'INSERT') THEN
                EXECUTE format('GRANT INSERT ON %s.audit TO {SERVING_ROLE}', place);
            END IF;
        END $$"
    )
}
