//! The coordinator over its REST API.

use async_trait::async_trait;
use stillframe_api::{
    Client, ClientError, ProblemCode,
    agent::{Assignment, AssignmentQuery, Register, Registered, ReportAccepted, ReportEvent},
};
use stillframe_protocol::{ClusterName, Incarnation, MemberName};

use super::{ControlError, ControlPlane};

impl From<ClientError> for ControlError {
    fn from(error: ClientError) -> Self {
        if error.problem().is_some_and(|problem| problem.code == ProblemCode::DatabaseUnavailable) {
            return Self::WithoutDatabase(error.to_string());
        }
        if error.is_transient() {
            return Self::Away(error.to_string());
        }
        match error.problem().map(|problem| problem.code) {
            Some(ProblemCode::Fenced) => Self::Fenced(error.to_string()),
            _ => Self::Refused(error.to_string()),
        }
    }
}

#[async_trait]
impl ControlPlane for Client {
    fn addresses(&self) -> usize {
        self.coordinators().urls().len()
    }

    fn move_on(&self) {
        Self::move_on(self);
    }

    async fn register(&self, cluster: &ClusterName, request: &Register) -> Result<Registered, ControlError> {
        Ok(Self::register(self, cluster, request).await?)
    }

    async fn assignment(
        &self,
        cluster: &ClusterName,
        member: &MemberName,
        query: &AssignmentQuery,
    ) -> Result<Assignment, ControlError> {
        Ok(Self::assignment(self, cluster, member, query).await?)
    }

    async fn report(
        &self,
        cluster: &ClusterName,
        member: &MemberName,
        incarnation: Incarnation,
        event: ReportEvent,
    ) -> Result<ReportAccepted, ControlError> {
        Ok(Self::report(self, cluster, member, incarnation, event).await?)
    }
}
