// Starts the reference. Nothing is asked from anywhere else: no validator badge, no remote document.
globalThis.SwaggerUIBundle({
  url: 'openapi.json',
  dom_id: '#reference',
  deepLinking: true,
  validatorUrl: null,
  queryConfigEnabled: false,
  persistAuthorization: false,
  defaultModelsExpandDepth: 0,
  docExpansion: 'list',
  syntaxHighlight: { activate: true, theme: 'agate' },
});
