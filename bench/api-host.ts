import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { Host } from '../src/vmm/modelled/host.ts'

/** The host of the API benchmarks: Sapphire Rapids, linux-6.12. */
export function benchHost(): Host {
  const wasm = createRequire(import.meta.url).resolve('iced-x86/iced_x86_bg.wasm')
  return new Host({ cpu: 'SapphireRapids', memory: 64 << 20, decoder: new WebAssembly.Module(readFileSync(wasm)) })
}

/** How often a second `batch` does its `size` things, by the best of five tries of about half a second. */
export function bestRate(size: number, batch: () => void): number {
  let best = 0
  batch()
  for (let attempt = 0; attempt < 5; attempt++) {
    const started = performance.now()
    let batches = 0
    while (performance.now() - started < 500) {
      batch()
      batches++
    }
    best = Math.max(best, (batches * size * 1000) / (performance.now() - started))
  }
  return Math.round(best)
}
