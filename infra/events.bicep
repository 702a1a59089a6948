// Replies and receipts of the Americas, deployed after the code: a subscription can name only a function that is there.
// Undelivered events are dropped after a day and stored nowhere: they hold numbers and texts.
param communicationName string
param appName string
param tags object = {}

// what the app's code asks for; tests/guards/test_infra.py compares
var subscriptions = [
  {
    function: 'messages_inbound'
    events: ['Microsoft.Communication.SMSReceived']
  }
  {
    function: 'messages_reports'
    events: [
      'Microsoft.Communication.SMSDeliveryReportReceived'
      'Microsoft.Communication.EmailDeliveryReportReceived'
    ]
  }
]

resource communication 'Microsoft.Communication/communicationServices@2025-05-01' existing = {
  name: communicationName
}

resource app 'Microsoft.Web/sites@2024-11-01' existing = {
  name: appName
}

resource topic 'Microsoft.EventGrid/systemTopics@2025-02-15' = {
  name: 'events-${communicationName}'
  location: 'global'
  tags: tags
  properties: {
    source: communication.id
    topicType: 'Microsoft.Communication.CommunicationServices'
  }
}

resource subscription 'Microsoft.EventGrid/systemTopics/eventSubscriptions@2025-02-15' = [
  for one in subscriptions: {
    parent: topic
    name: replace(one.function, '_', '-')
    properties: {
      eventDeliverySchema: 'EventGridSchema'
      destination: {
        endpointType: 'AzureFunction'
        properties: {
          resourceId: '${app.id}/functions/${one.function}'
          maxEventsPerBatch: 1
        }
      }
      filter: { includedEventTypes: one.events }
      retryPolicy: { eventTimeToLiveInMinutes: 1440, maxDeliveryAttempts: 30 }
    }
  }
]
