import type { RunOutcome, SmallVmm } from '../vmm/small-vmm/small-vmm.ts'
import { EXIT_FAILURE } from './report.ts'
import type { RunConsole } from './run-console.ts'

/** How a drive ended: as the guest's run did, or from outside. */
export type DriveEnd =
  | Exclude<RunOutcome, { kind: 'running' }>
  | { readonly kind: 'limit' }
  | { readonly kind: 'interrupted' }
  /** Nobody takes what the guest prints: errno of the write. */
  | { readonly kind: 'output-failed'; readonly errno: number }

/** A slice should last about this long, so that Ctrl-C and the reader of the output are looked at often enough. */
const SLICE_MS = 8
/** A slice ends after this many exits too: a guest that does little else must not make it long. */
const SLICE_EXITS = 10_000

/** Runs a guest in slices until something happens that its VMM does not settle itself, and looks after the world in between. */
export async function driveGuest(vmm: SmallVmm, maxInstructions: number, console: RunConsole): Promise<DriveEnd> {
  const { output } = console
  let interrupted = false
  const interrupt = () => {
    // The first asks; whoever asks twice does not want to wait.
    if (interrupted) process.exit(EXIT_FAILURE)
    interrupted = true
    output.interrupt()
  }
  process.on('SIGINT', interrupt)
  try {
    let slice = 200_000
    const end = vmm.retired + maxInstructions
    for (;;) {
      const started = performance.now()
      const outcome = vmm.run({ maxInstructions: Math.min(slice, end - vmm.retired), maxExits: SLICE_EXITS })
      console.flush()
      if (outcome.kind !== 'running') return outcome
      if (vmm.retired >= end) return { kind: 'limit' }
      const took = performance.now() - started
      slice = Math.max(10_000, Math.min(100_000_000, Math.round((slice * SLICE_MS) / Math.max(took, 0.5))))
      await new Promise((resolve) => setImmediate(resolve))
      if (!interrupted) await output.room()
      if (interrupted) return { kind: 'interrupted' }
      if (output.failure !== 0) return { kind: 'output-failed', errno: output.failure }
    }
  } finally {
    process.off('SIGINT', interrupt)
  }
}
