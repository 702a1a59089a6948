// Logs in the region, without addresses: what a line could carry of one is removed before it is stored. Rules that clean
// may use few functions, and replacing is not among them ("Supported KQL features in Azure Monitor transformations").
param token string
param location string
param retentionDays int
param cleanedBefore bool
param alertEmails array
param tags object

var workspaceName = 'logs-${token}'
var cleaningName = 'clean-${token}'
// request telemetry would hold paths, and paths hold patients' links; dependencies would hold vendors' addresses
var noRow = 'source | where false'
// no address without a slash, and no slash in our own lines: what comes before the first one stays
var toSlash = '@\'^[^/]*\''
var withoutSlash = '@\'^[^/]*$\''

module workspace 'workspace.bicep' = {
  name: 'workspace'
  params: {
    name: workspaceName
    location: location
    retentionDays: retentionDays
    cleaningRuleId: cleanedBefore ? resourceId('Microsoft.Insights/dataCollectionRules', cleaningName) : ''
    tags: tags
  }
}

resource cleaning 'Microsoft.Insights/dataCollectionRules@2023-03-11' = {
  name: cleaningName
  location: location
  tags: tags
  kind: 'WorkspaceTransforms'
  properties: {
    destinations: {
      logAnalytics: [{ name: 'workspace', workspaceResourceId: workspace.outputs.id }]
    }
    dataFlows: [
      {
        streams: ['Microsoft-Table-AppRequests']
        destinations: ['workspace']
        transformKql: noRow
      }
      {
        streams: ['Microsoft-Table-AppDependencies']
        destinations: ['workspace']
        transformKql: noRow
      }
      {
        streams: ['Microsoft-Table-AppTraces']
        destinations: ['workspace']
        transformKql: 'source | extend Message = extract(${toSlash}, 0, Message), OperationName = extract(${toSlash}, 0, OperationName), Properties = parse_json(extract(${withoutSlash}, 0, tostring(Properties)))'
      }
      {
        // texts of unexpected errors are not ours to vouch for: type and place stay
        streams: ['Microsoft-Table-AppExceptions']
        destinations: ['workspace']
        transformKql: 'source | extend Message = \'\', OperationName = extract(${toSlash}, 0, OperationName), OuterMessage = \'\', InnermostMessage = \'\', Details = parse_json(\'[]\'), Properties = parse_json(\'{}\')'
      }
    ]
  }
}

module cleanedWorkspace 'workspace.bicep' = {
  name: 'workspace-cleaned'
  params: {
    name: workspaceName
    location: location
    retentionDays: retentionDays
    cleaningRuleId: cleaning.id
    tags: tags
  }
}

resource insights 'Microsoft.Insights/components@2020-02-02' = {
  name: 'insights-${token}'
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: cleanedWorkspace.outputs.id
    DisableLocalAuth: true
  }
}

resource people 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: 'people-${token}'
  location: 'global'
  tags: tags
  properties: {
    enabled: true
    groupShortName: 'connector'
    emailReceivers: [
      for (address, index) in alertEmails: {
        name: 'person-${index}'
        emailAddress: trim(address)
        useCommonAlertSchema: true
      }
    ]
  }
}

output workspaceId string = cleanedWorkspace.outputs.id
output insightsName string = insights.name
output actionGroupId string = people.id
