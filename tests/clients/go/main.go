// A Go program that calls a stigmer server: main ADDRESS.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	agentv1 "example.com/stranger/gen/ai/stigmer/agentic/agent/v1"
	executionv1 "example.com/stranger/gen/ai/stigmer/agentic/agentexecution/v1"
	"example.com/stranger/gen/ai/stigmer/commons/apiresource"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

const api = "agentic.stigmer.ai/v1"

func main() {
	connection, err := grpc.NewClient(os.Args[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(err)
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	agents := agentv1.NewAgentCommandControllerClient(connection)
	agent, err := agents.Apply(ctx, &agentv1.Agent{
		ApiVersion: api,
		Kind:       "Agent",
		Metadata: &apiresource.ApiResourceMetadata{
			Name: "Written in Go", Org: "acme", OwnerScope: apiresource.ApiResourceOwnerScope_organization,
		},
		Spec: &agentv1.AgentSpec{Instructions: "Answer in one sentence."},
	})
	check(err)
	fmt.Println(agent.Metadata.Slug)

	_, err = agents.Create(ctx, &agentv1.Agent{})
	refusal := status.Convert(err)
	fmt.Println(refusal.Code())
	for _, violation := range refusal.Details()[0].(*errdetails.BadRequest).FieldViolations {
		fmt.Println(violation.Field)
	}

	commands := executionv1.NewAgentExecutionCommandControllerClient(connection)
	execution, err := commands.Create(ctx, &executionv1.AgentExecution{
		ApiVersion: api,
		Kind:       "AgentExecution",
		Metadata:   &apiresource.ApiResourceMetadata{Name: "Run from Go"},
		Spec:       &executionv1.AgentExecutionSpec{AgentId: agent.Metadata.Id, Message: "Go on."},
	})
	check(err)
	id := execution.Metadata.Id
	queries := executionv1.NewAgentExecutionQueryControllerClient(connection)
	states, err := queries.Subscribe(ctx, &executionv1.AgentExecutionId{Value: id})
	check(err)
	for {
		state, err := states.Recv()
		if errors.Is(err, io.EOF) {
			return
		}
		check(err)
		fmt.Println(state.Status.Phase)
		if state.Status.Phase == executionv1.ExecutionPhase_EXECUTION_PENDING {
			ended := &executionv1.AgentExecutionStatus{Phase: executionv1.ExecutionPhase_EXECUTION_COMPLETED}
			report := &executionv1.AgentExecutionUpdateStatusInput{ExecutionId: id, Status: ended}
			_, err := commands.UpdateStatus(ctx, report)
			check(err)
		}
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
