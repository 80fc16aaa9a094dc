import { XFEATURE_XTILE_DATA } from '../../../isa/xfeatures.ts'
import { allocateGuestFpuPreemptibly } from '../../../linux/fpu/door.ts'
import {
  ARCH_REQ_XCOMP_GUEST_PERM,
  groupPermission,
  requestPermissionPreemptibly,
  xstatePrctl,
} from '../../../linux/fpu/permission.ts'
import { PREEMPTION_POINT, type Preemptible } from '../../../linux/preemption.ts'
import type { Task } from '../../../linux/task.ts'
import type { HostModel, Invariant } from '../host-system.ts'
import { VcpuHost } from '../vcpu-host.ts'
import { watch } from '../watch.ts'
import { place } from './amx-host.ts'

export interface PermissionVariant {
  readonly name: string
  readonly mistake: string
  readonly source: string
  readonly request: (task: Task) => Preemptible<void>
}

/** ARCH_REQ_XCOMP_GUEST_PERM. */
function* request(task: Task): Preemptible<void> {
  yield* requestPermissionPreemptibly(task, XFEATURE_XTILE_DATA, 0, true)
}

/** What KVM_CREATE_VCPU does about permissions: the vCPU's image is made, and they are locked. */
function* createVcpu(task: Task): Preemptible<void> {
  yield* allocateGuestFpuPreemptibly(task)
}

export const permissionVariants: readonly PermissionVariant[] = [
  {
    name: 'checked-before-lock',
    mistake: 'whether permissions are locked is looked at before the lock is taken',
    source: 'PERM-17, PERM-23, PERM-31: both run under the sighand lock',
    *request(task) {
      yield PREEMPTION_POINT
      const record = groupPermission(task, true)
      if (record.locked) return
      yield PREEMPTION_POINT
      // The grant does not look again.
      const { locked } = record
      record.locked = false
      xstatePrctl(task, ARCH_REQ_XCOMP_GUEST_PERM, XFEATURE_XTILE_DATA, 0, 0)
      record.locked = locked
    },
  },
]

/** One thread asks for guest permission, two others create vCPUs: from the first one on permissions do not change. */
export function permission(options: {
  readonly kernel: string
  readonly decoder: WebAssembly.Module
  readonly variant?: PermissionVariant
}): HostModel {
  const host = new VcpuHost({
    kernel: options.kernel,
    cpu: 'SapphireRapids',
    decoder: options.decoder,
    guests: [],
    threads: 3,
    others: 0,
  })
  const [asking, first, second] = host.tasks
  place(host, [asking, 3, 0], [first, 2, 1], [second, 1, 0])
  const record = groupPermission(asking, true)
  const seen = { whenLocked: -1, granted: record.statePerm }
  const { recorder } = host
  watch(recorder, record, 'guest permission', 'statePerm', 'locked')
  const watched = (body: (task: Task) => Preemptible<void>, task: Task) =>
    (function* (): Preemptible<void> {
      const steps = body(task)
      for (;;) {
        const step = steps.next()
        // Here and not in the check: steps that are known are not checked again. What is seen for that is no access of the step.
        const { recording } = recorder
        recorder.recording = false
        if (record.locked && seen.whenLocked < 0) seen.whenLocked = record.statePerm
        seen.granted |= record.statePerm
        recorder.recording = recording
        if (step.done) return
        yield step.value
      }
    })()
  return {
    kernel: host.host.kernel,
    recorder: host.recorder,
    actors: [
      { name: 'asking', task: asking, body: () => watched(options.variant?.request ?? request, asking) },
      { name: 'vcpu0', task: first, body: () => watched(createVcpu, first) },
      { name: 'vcpu1', task: second, body: () => watched(createVcpu, second) },
    ],
    invariants: [neverAfterLock(record, seen), neverShrinks(record, seen)],
    objects: [record, seen],
    memory: host.memory,
    migrations: 1,
    describe: () => ({ 'guest permission': { state_perm: `0x${record.statePerm.toString(16)}`, locked: Number(record.locked) } }),
  }
}

interface Seen {
  whenLocked: number
  /** Every bit that was ever there. */
  granted: number
}
type Record = ReturnType<typeof groupPermission>

function neverAfterLock(record: Record, seen: Seen): Invariant {
  return {
    id: 'permission-fixed-after-vcpu',
    name: 'guest permissions do not change once a vCPU exists [PERM-23]',
    check: () =>
      !record.locked || record.statePerm === seen.whenLocked
        ? null
        : `state_perm was 0x${seen.whenLocked.toString(16)} when the vCPU was made, and is 0x${record.statePerm.toString(16)}`,
  }
}

function neverShrinks(record: Record, seen: Seen): Invariant {
  const user = 0xffff_f3ff // supervisor bits: PERM-59
  return {
    id: 'permission-never-shrinks',
    name: 'a permission is never withdrawn [PERM-22]',
    check: () => ((seen.granted & user & ~record.statePerm) === 0 ? null : `state_perm = 0x${record.statePerm.toString(16)}`),
  }
}
