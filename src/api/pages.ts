import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import type { Assets } from '../ports/files.ts';
import { type App, about, refusals } from './app-types.ts';

/**
 * The two pages for people: the status page and the API reference. Everything they need comes from here, so that they work
 * on a machine without a way out; the policy lets them load and ask nothing else, and run no inline script.
 */

const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

interface Page {
  readonly asset: string;
  readonly type: string;
}

const HTML = 'text/html; charset=utf-8';
const CSS = 'text/css; charset=utf-8';
const JAVASCRIPT = 'text/javascript; charset=utf-8';

const files: readonly (Page & { readonly path: string })[] = [
  { path: '/status.css', asset: 'status.css', type: CSS },
  { path: '/status-cards.css', asset: 'status-cards.css', type: CSS },
  { path: '/status.js', asset: 'status.js', type: JAVASCRIPT },
  { path: '/status-cards.js', asset: 'status-cards.js', type: JAVASCRIPT },
  { path: '/status-log.js', asset: 'status-log.js', type: JAVASCRIPT },
  { path: '/docs/docs.css', asset: 'docs.css', type: CSS },
  { path: '/docs/docs.js', asset: 'docs.js', type: JAVASCRIPT },
  { path: '/docs/swagger-ui.css', asset: 'swagger-ui.css', type: CSS },
  { path: '/docs/swagger-ui-bundle.js', asset: 'swagger-ui-bundle.js', type: JAVASCRIPT },
];

export function pageRoutes(app: App, options: { readonly assets: Assets; readonly openApi: () => Promise<object> }): void {
  const open = { access: 'open' } as const;
  const html = { 200: { description: 'a web page', content: { 'text/html': { schema: z.string() } } }, ...refusals.open };
  const show = async (reply: FastifyReply, page: Page): Promise<void> => {
    const text = await options.assets.text(page.asset);
    void reply.type(page.type).header('content-security-policy', POLICY).send(text);
  };

  app.get('/', { config: open, schema: { ...about('pages', 'statusPage', 'Status page'), response: html } }, (_request, reply) =>
    show(reply, { asset: 'status.html', type: HTML }),
  );
  app.get('/docs', { config: open, schema: { ...about('pages', 'docsPage', 'This API reference'), response: html } }, (_request, reply) =>
    show(reply, { asset: 'docs.html', type: HTML }),
  );
  for (const page of files) app.get(page.path, { config: open, schema: { hide: true } }, (_request, reply) => show(reply, page));
  app.get(
    '/openapi.json',
    {
      config: open,
      schema: {
        ...about('pages', 'getOpenApi', 'This API as an OpenAPI 3.1 document'),
        response: { 200: z.record(z.string(), z.unknown()), ...refusals.open },
      },
    },
    async () => ({ ...(await options.openApi()) }),
  );
}
