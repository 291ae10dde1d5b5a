//! The database of a world: one on the server that all tests share, or a server of the test's own, with a line to it from each coordinator.

use stillframe_private_postgres::{Options, PrivatePostgres, testing::TestDatabase};

use crate::proxy::{Line, Lines, Network, Switch, Upstream, socket_of};

/// The database of a world.
#[derive(Debug)]
pub enum Database {
    /// On the server that all tests share.
    Shared(TestDatabase),
    /// On a server of the test's own.
    Own {
        /// The server.
        server: Box<PrivatePostgres>,
        /// The line of each coordinator.
        lines: Vec<Line>,
        /// Where each coordinator connects.
        urls: Vec<String>,
        /// Where they lead.
        switch: Switch,
        /// What carries them.
        network: Network,
    },
}

impl Database {
    /// A database for so many coordinators.
    ///
    /// # Panics
    ///
    /// When there is no server.
    pub async fn start(own: bool, coordinators: usize) -> Self {
        if !own {
            return Self::Shared(TestDatabase::create().await);
        }
        let server = stillframe_private_postgres::start(Options::temporary(), |_| {}).await;
        let server = Box::new(server.unwrap_or_else(|error| panic!("no Postgres: {error}")));
        let url = server.create_database("world").await.unwrap_or_else(|error| panic!("no database: {error}"));
        let socket = socket_of(&url).unwrap_or_else(|| panic!("{url} names no socket"));
        let user = url.trim_start_matches("postgres://").split('@').next().unwrap_or_default().to_owned();
        let switch = Switch::new(socket);
        let (network, lines) =
            (Network::start(), vec![(); coordinators].into_iter().map(|()| Line::default()).collect::<Vec<_>>());
        let url = |line: &Line| {
            let proxy = network.proxy(Upstream::Switched(switch.clone()), Lines::All(line.clone()));
            format!("postgres://{user}@{}/world?sslmode=disable", proxy.address())
        };
        let urls = lines.iter().map(url).collect();
        Self::Own { server, lines, urls, switch, network }
    }

    /// Where a coordinator connects.
    ///
    /// # Panics
    ///
    /// When there is no such coordinator.
    #[must_use]
    pub fn url(&self, coordinator: usize) -> String {
        match self {
            Self::Shared(database) => database.url().to_owned(),
            Self::Own { urls, .. } => urls[coordinator].clone(),
        }
    }

    /// Drops the database, whoever uses it, and makes an empty one of its name.
    ///
    /// # Panics
    ///
    /// When the server refuses.
    pub async fn empty(&self) {
        match self {
            Self::Shared(database) => database.empty().await,
            Self::Own { .. } => panic!("the options asked for a server of the test's own: its database isn't dropped"),
        }
    }

    /// The line from a coordinator to the database.
    ///
    /// # Panics
    ///
    /// When the options didn't ask for a server of the test's own.
    #[must_use]
    pub fn line(&self, coordinator: usize) -> &Line {
        match self {
            Self::Shared(_) => panic!("WorldOptions::with_own_postgres makes lines"),
            Self::Own { lines, .. } => &lines[coordinator],
        }
    }

    /// Loses the test's own server, and has its standby take its place: for the coordinators it is the same database, at the same address.
    ///
    /// # Panics
    ///
    /// When the options didn't ask for a server of the test's own, or the standby can't be promoted.
    pub async fn fail_over(&mut self, standby: PrivatePostgres) {
        let Self::Own { server, switch, .. } = self else { panic!("WorldOptions::with_own_postgres makes a server") };
        server.end_immediately().await.unwrap_or_else(|error| panic!("{error}"));
        standby.promote().await.unwrap_or_else(|error| panic!("{error}"));
        let url = standby.url();
        switch.switch(socket_of(&url).unwrap_or_else(|| panic!("{url} names no socket")));
        **server = standby;
    }

    /// The test's own server.
    ///
    /// # Panics
    ///
    /// When the options didn't ask for one.
    pub fn server(&mut self) -> &mut PrivatePostgres {
        match self {
            Self::Shared(_) => panic!("WorldOptions::with_own_postgres makes a server"),
            Self::Own { server, .. } => server,
        }
    }
}
