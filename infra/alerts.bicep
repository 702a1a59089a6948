// What somebody must look at. Each has its place in docs/operations.md, "When an alert comes".
param region string
param location string
param token string
param workspaceId string
param insightsName string
param actionGroupId string
param healthUrl string
param tags object

// log lines that are alarms by themselves; tests/guards/test_infra.py compares with the code
var alarms = [
  { event: 'messages.alarm_late', severity: 1, text: 'Messages are due for over 15 minutes and nothing stops them.' }
  { event: 'messages.alarm_unscanned', severity: 1, text: 'A part of a schedule is over 30 minutes late for its complete scan.' }
  { event: 'messages.alarm_held', severity: 2, text: 'A brake holds messages until an admin looks.' }
  { event: 'messages.alarm_sender', severity: 2, text: 'Carriers or Microsoft block what a sender sends.' }
  { event: 'queues.alarm_poisoned', severity: 2, text: 'Hints failed five times and lie in a poison queue.' }
]
var counted = [
  {
    name: 'messages-uncertain'
    severity: 2
    text: 'It is unknown whether messages were sent.'
    query: 'AppTraces | where Message startswith \'messages.swept \' and Message has \'state=uncertain\''
    threshold: 0
    operator: 'GreaterThan'
  }
  {
    name: 'failures'
    severity: 2
    text: 'Requests, scans, sends or purges fail again and again.'
    query: 'AppTraces | where Message matches regex @\'^[a-z]+\\.[a-z_]*(failed|error|unread) \''
    threshold: 5
    operator: 'GreaterThan'
  }
  {
    name: 'silent'
    severity: 0
    text: 'The timers do not run: nothing is scanned or sent.'
    query: 'AppTraces | where Message startswith \'Executed \\\'Functions.messages_dispatch\\\' (Succeeded\''
    threshold: 1
    operator: 'LessThan'
  }
]
var testedFrom = {
  americas: ['us-va-ash-azr', 'us-il-ch1-azr', 'us-tx-sn1-azr']
  emea: ['emea-nl-ams-azr', 'emea-gb-db3-azr', 'emea-fr-pra-edge']
  apac: ['apac-sg-sin-azr', 'apac-jp-kaw-edge', 'emea-au-syd-edge']
}

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insightsName
}

resource alarm 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [
  for one in alarms: {
    name: replace(replace(one.event, '.alarm_', '-'), '_', '-')
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      description: one.text
      severity: one.severity
      enabled: true
      scopes: [workspaceId]
      evaluationFrequency: 'PT5M'
      windowSize: 'PT15M'
      autoMitigate: true
      skipQueryValidation: true
      criteria: {
        allOf: [
          {
            query: 'AppTraces | where Message startswith \'${one.event} \''
            timeAggregation: 'Count'
            operator: 'GreaterThan'
            threshold: 0
          }
        ]
      }
      actions: { actionGroups: [actionGroupId] }
    }
  }
]

resource count 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [
  for one in counted: {
    name: one.name
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      description: one.text
      severity: one.severity
      enabled: true
      scopes: [workspaceId]
      evaluationFrequency: 'PT5M'
      windowSize: 'PT15M'
      autoMitigate: true
      skipQueryValidation: true
      criteria: {
        allOf: [
          {
            query: one.query
            timeAggregation: 'Count'
            operator: one.operator
            threshold: one.threshold
          }
        ]
      }
      actions: { actionGroups: [actionGroupId] }
    }
  }
]

resource health 'Microsoft.Insights/webtests@2022-06-15' = {
  name: 'health-${token}'
  location: location
  tags: union(tags, { 'hidden-link:${insights.id}': 'Resource' })
  kind: 'standard'
  properties: {
    SyntheticMonitorId: 'health-${token}'
    Name: 'health'
    Enabled: true
    Frequency: 300
    Timeout: 30
    Kind: 'standard'
    RetryEnabled: true
    Locations: [for id in testedFrom[region]: { Id: id }]
    Request: {
      RequestUrl: healthUrl
      HttpVerb: 'GET'
      FollowRedirects: false
      ParseDependentRequests: false
    }
    ValidationRules: {
      ExpectedHttpStatusCode: 200
      SSLCheck: true
      SSLCertRemainingLifetimeCheck: 30
    }
  }
}

resource unhealthy 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: 'unhealthy'
  location: 'global'
  tags: tags
  properties: {
    description: 'The app or its storage does not answer, or its certificate ends within 30 days.'
    severity: 0
    enabled: true
    scopes: [health.id, insights.id]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT15M'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.WebtestLocationAvailabilityCriteria'
      webTestId: health.id
      componentId: insights.id
      failedLocationCount: 2
    }
    actions: [{ actionGroupId: actionGroupId }]
  }
}
