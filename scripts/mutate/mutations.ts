/** A line behind a rule, and how to break it. The rule's test has to notice. */
export interface Mutation {
  readonly rule: string
  readonly file: string
  /** Occurs exactly once in the file. */
  readonly find: string
  readonly replace: string
  /** Test file; of its tests those that name the rule are run. */
  readonly test: string
}

type Row = readonly [rule: string, find: string, replace: string]

const of = (file: string, test: string, rows: readonly Row[]): Mutation[] =>
  rows.map(([rule, find, replace]) => ({ rule, file, find, replace, test }))

const FPU = 'src/linux/fpu'
const TESTS = 'test/linux/fpu'
const SPLIT = 'src/linux/splitlock'

export const MUTATIONS: readonly Mutation[] = [
  ...of(`${FPU}/config.ts`, `${TESTS}/config.test.ts`, [
    ['PERM-02', "model.has('amx-tile') && model.has('xfd'), ", "model.has('amx-tile'), "],
    ['PERM-03', '(model.xcr0Supported & XFEATURE_MASK_FPSSE) === XFEATURE_MASK_FPSSE && !clash', '!clash'],
    ['PERM-07', "const compacted = xsave && (xsaves || model.has('xsavec'))", 'const compacted = xsave'],
    ['PERM-08', 'if (!profile.fpu.standardSizeOfHighestComponent)', 'if (profile.fpu.standardSizeOfHighestComponent)'],
    ['PERM-09', 'saveForm: xsaves ? XSAVES : ', 'saveForm: '],
    ['PERM-11', 'xss: supervisor | independent,', 'xss: supervisor,'],
    ['PERM-27', 'userMaxSize + frameExtra + 63 + 15) & ~15', 'userMaxSize + frameExtra + 15) & ~15'],
  ]),
  ...of('src/isa/xstate-layout.ts', 'test/isa/xstate-layout.test.ts', [
    ['PERM-05', 'if (c.offset + c.size > end) end = c.offset + c.size', 'end += c.size'],
    ['PERM-06', 'if (c.align64) end = (end + 63) & ~63', ''],
  ]),
  ...of(`${FPU}/permission.ts`, `${TESTS}/permissions.test.ts`, [
    ['PERM-17', 'if (hi !== 0 || lo >>> 0 >= permissions.xfeatureMax)', 'if (lo >>> 0 >= permissions.xfeatureMax)'],
    ['PERM-20', 'record.kernelSize = kernelSize(xstate, mask)', ''],
    ['PERM-21', '  if (!guest) {\n    const need', '  {\n    const need'],
    ['PERM-25', 'const { fpu } = task.group.leader', 'const { fpu } = task'],
    ['PERM-28', 'if (size === 0 || size >= need) continue', 'if (size === 0 || size > need) continue'],
    ['PERM-29', 'if (size > limit) return 0', 'if (size >= limit) return 0'],
    ['PERM-59', 'permissions.keepsSupervisorBits ? mask : user', 'mask'],
  ]),
  ...of('src/linux/signal/alt-stack.ts', `${TESTS}/permissions.test.ts`, [
    ['PERM-31', 'if (altStack.sp === sp && altStack.size === size && altStack.flags === flags) return 0', ''],
  ]),
  ...of('src/linux/signal/handler.ts', 'test/linux/signal/xstate.test.ts', [
    ['PERM-32', 'if ((nested || entering) && !liesOnAltStack(task, frame))', 'if (nested && !liesOnAltStack(task, frame))'],
  ]),
  ...of(`${FPU}/guest-fpu.ts`, `${TESTS}/permissions.test.ts`, [['PERM-23', 'groupPermission(task, true).locked = true', '']]),
  ...of(`${FPU}/lifecycle.ts`, `${TESTS}/permissions.test.ts`, [
    ['PERM-13', 'if (!isThread && child.config.dynamicSizing) {', 'if (!isThread) {'],
    ['PERM-24', 'child.guestPerm = { ...leader.guestPerm }', 'child.guestPerm = { ...leader.guestPerm, locked: false }'],
    ['PERM-26', '  fpu.reset()\n  if (old', '  fpu.fpstate = fpu.embedded\n  if (old'],
  ]),
  ...of(`${FPU}/lifecycle.ts`, `${TESTS}/clone.test.ts`, [['PERM-43', 'child.fpstate.xstateBv &= ~XFEATURE_MASK_PASID', '']]),
  ...of(`${FPU}/register-owner.ts`, `${TESTS}/clone.test.ts`, [
    ['PERM-40', 'return cpu.fpuOwner === fpu && fpu.lastCpu === cpu.id', 'return cpu.fpuOwner === fpu'],
  ]),
  ...of(`${FPU}/registers.ts`, `${TESTS}/clone.test.ts`, [
    [
      'PERM-33',
      'if (!fpu.config.dynamicSizing || cpu.xfdShadow === fpstate.xfd) return',
      'if (!fpu.config.dynamicSizing) return',
    ],
    [
      'PERM-41',
      'restoreRegisters(fpu, cpu, fpu.fpstate, fpu.config.restoreMask)',
      'restoreRegisters(fpu, cpu, fpu.fpstate, fpu.config.restoreMask & fpu.fpstate.xfeatures)',
    ],
  ]),
  ...of(`${FPU}/config.ts`, `${TESTS}/clone.test.ts`, [
    ['PERM-42', 'restoreMask: kernelMax & ~XFEATURE_MASK_PKRU', 'restoreMask: kernelMax'],
  ]),
  ...of(`${FPU}/xfd-fault.ts`, `${TESTS}/clone.test.ts`, [
    ['PERM-36', 'cpu.processor.writeXfdErr(0)', ''],
    ['PERM-37', 'if ((record.statePerm & wanted) !== wanted)', 'if ((record.statePerm & wanted) === wanted)'],
    ['PERM-38', 'grown.xfd = old.xfd & ~added', 'grown.xfd = old.xfd'],
  ]),
  ...of(`${FPU}/switch.ts`, `${TESTS}/clone.test.ts`, [
    ['PERM-44', 'cpu.processor.xrstor(xstate.restoreForm, xstate.initImage, tiles)', ''],
  ]),
  ...of(`${FPU}/signal-frame.ts`, `${TESTS}/signal-frame.test.ts`, [
    ['PERM-45', 'Math.floor((sp - size) / 64) * 64', 'Math.floor((sp - size) / 16) * 16'],
    ['PERM-46', 'view.setUint32(4, userSize + 4, true)', 'view.setUint32(4, userSize, true)'],
    ['PERM-47', 'config.pku && config.profile.fpu.signalFrameCarriesPkru', 'config.pku'],
    ['PERM-48', 'if (config.dynamicSizing) mask &=', 'if (config.xsave) mask &= ~0 |'],
    ['PERM-50', 'return user === 0', 'return false'],
    ['PERM-51', ' || size > extendedSize) return false', ') return false'],
    ['PERM-52', 'const reset = fpstate.userXfeatures & ~loaded', 'const reset = 0'],
    ['PERM-54', '  withPreemptionDisabled(task, clearUserStates, task)\n', ''],
    ['PERM-69', 'const restore = xfeatures & fpstate.userXfeatures', 'const restore = xfeatures'],
  ]),
  ...of(`${FPU}/lifecycle.ts`, `${TESTS}/signal-frame.test.ts`, [
    ['PERM-49', 'if (config.supervisor !== 0 && !registersValid(fpu, cpu)) {', 'if (config.supervisor === 0) {'],
  ]),
  ...of(`${FPU}/uabi-copy.ts`, `${TESTS}/regset.test.ts`, [
    [
      'PERM-55',
      'put32(into, at + FXSAVE.SW_RESERVED, config.userMax)',
      'put32(into, at + FXSAVE.SW_RESERVED, config.userDefault)',
    ],
    [
      'PERM-56',
      'if ((lo & ~fpstate.userXfeatures) === 0 && hi === 0) return null',
      'if ((lo & ~fpstate.userXfeatures) === 0) return null',
    ],
    ['PERM-71', 'mxcsr ? mem.i32[(image + FXSAVE.MXCSR_MASK) >> 2] : config.mxcsrMask', 'config.mxcsrMask'],
  ]),
  ...of(`${FPU}/regset.ts`, `${TESTS}/regset.test.ts`, [
    ['PERM-57', 'fpu.pkru = pkru < 0 ? 0 : pkru', 'if (pkru >= 0) fpu.pkru = pkru'],
    ['PERM-58', 'fpstate.xstateBv |= XFEATURE_MASK_FPSSE', ''],
  ]),

  ...of(`${FPU}/guest-fpu.ts`, `${TESTS}/guest-fpu.test.ts`, [
    ['GFPU-02', 'fpstate.xfd = 0 // the reset', 'fpstate.xfd = xstate.initXfd // the reset'],
    ['GFPU-05', 'if (fpstate.inUse || !fpstate.isValloc', 'if (!fpstate.isValloc'],
    ['GFPU-11', '  fpu.fpstate = fpu.taskFpstate\n', ''],
    ['XSAVE-16', 'if (xstate.profile.xsave.setMasksWithXfd && ', 'if (xstate.profile.xsave.setMasksWithXfd && false && '],
    ['XSAVE-17', 'if ((features & ~supported) !== 0 || hi !== 0) return', 'if (hi !== 0) return'],
    ['XSAVE-18', '(setRequiresImageFeatures ? ofEra(xstate, checkFeatures(fpstate, from, at)) : null) ??', ''],
  ]),
  ...of(`${FPU}/guest-realloc.ts`, `${TESTS}/guest-fpu.test.ts`, [['GFPU-39', '  state.uabiSize = userSize\n', '']]),
  ...of(`${FPU}/guest-fpu.ts`, `${TESTS}/guest-image.test.ts`, [
    ['GFPU-22', 'if (!fpu.fpstate.isConfidential && !fpu.needLoad) saveRegisters', 'if (!fpu.needLoad) saveRegisters'],
    ['GFPU-27', 'if (image.inUse) writeXfd(fpu, cpu, image)', ''],
  ]),
  ...of(`${FPU}/kernel-fpu.ts`, `${TESTS}/guest-fpu.test.ts`, [
    ['GFPU-13', '    noteNeedLoad(fpu, cpu)\n    saveRegisters(fpu, cpu)\n', '    noteNeedLoad(fpu, cpu)\n'],
  ]),
  ...of(`${FPU}/uabi-copy.ts`, `${TESTS}/guest-fpu.test.ts`, [
    ['XSAVE-08', 'put32(into, at + FXSAVE.FCW, FCW_INIT)', ''],
    ['XSAVE-11', 'put32(into, at + offset, pkru)', 'put32(into, at + offset, mem.i32[source >> 2])'],
    ['XSAVE-19', 'i < XSAVE_LEGACY_AND_HEADER; i++', 'i < XCOMP_BV_OFFSET + 8; i++'],
    ['XSAVE-20', 'if (!counts || reserved === 0) return null', 'if (reserved === 0) return null'],
    [
      'XSAVE-22',
      '(XFEATURE_MASK_SSE | XFEATURE_MASK_YMM)) !== 0) copy(image + FXSAVE.MXCSR',
      'XFEATURE_MASK_SSE) !== 0) copy(image + FXSAVE.MXCSR',
    ],
  ]),

  ...of('src/machine/cet.ts', 'test/machine/cet/registers.test.ts', [
    ['CET-03', "&& (lo & CET_TRACKER) !== 0 ? 'SUPPRESS", "&& (lo & CET_TRACKER) === 0 ? 'SUPPRESS"],
    ['CET-58', "if (!isCanonicalAt(model.linearAddrBits, hi)) return 'not canonical'", ''],
  ]),
  ...of('src/machine/cet.ts', 'test/machine/cet/shadow-stack.test.ts', [
    ['CET-53', 'export const CP_RSTORSSP = 4', 'export const CP_RSTORSSP = 5'],
  ]),
  ...of('src/machine/branch-tracker.ts', 'test/machine/cet/branch-tracking.test.ts', [
    ['CET-52', '(settings & CET_SUPPRESS_DIS ? 0 : CET_SUPPRESS)', '0'],
  ]),

  ...of('src/machine/translate/instruction.ts', 'test/machine/instructions/integer/lock.test.ts', [
    ['SLD-01', 'this.e.if(gtU(32, lastOffset, i32(64))', 'this.e.if(gtU(32, lastOffset, i32(60))'],
  ]),
  ...of(`${SPLIT}/probe.ts`, 'test/linux/splitlock/test-ctrl.test.ts', [
    ['SLD-10', 'if (!verifyTestCtrl(processor, true)) return null', ''],
    ['SLD-12', 'const cacheValue = processor.rdmsr(MSR_TEST_CTRL)', 'const cacheValue = 0n'],
  ]),
  ...of(`${SPLIT}/warn.ts`, 'test/linux/splitlock/host-tasks.test.ts', [
    ['SLD-19', 'if (byFlag || !task.reportedSplitLock) {', '{'],
    ['SLD-20', '      setDetection(there, true)\n      splitLock', '      splitLock'],
    ['SLD-21', 'profile.splitLock.sharedReenableWork ? 0 : cpu.id', 'cpu.id'],
  ]),
  ...of(`${SPLIT}/thread-flag.ts`, 'test/linux/splitlock/test-ctrl.test.ts', [
    ['SLD-26', 'splitLockAllowed = !on', 'splitLockAllowed = on'],
    ['SLD-27', 'if (isDetectionOffFor(previous) !== off) setDetection', 'setDetection'],
  ]),
  ...of('src/isa/msrs.ts', 'test/linux/splitlock/test-ctrl.test.ts', [['SLD-06', "scope: 'core',", '']]),
  ...of(`${SPLIT}/door.ts`, 'test/kvm/splitlock/programs.test.ts', [
    ['SLD-34', 'forceFault(task, { signal: SIGBUS', 'sendSignal(task, { signal: SIGBUS'],
  ]),
  ...of(`${SPLIT}/door.ts`, 'test/kvm/splitlock/world-switch.test.ts', [
    ['SLD-43', "task.kernel.splitLock.mode !== 'warn' || ", ''],
    ['SLD-55', ' || isDetectionOn(task) === on', ''],
  ]),
  ...of('src/kvm/vcpu/split-lock.ts', 'test/kvm/splitlock/world-switch.test.ts', [
    ['SLD-57', '    if (this.loaded) return\n    this.hostDetection', '    this.hostDetection'],
    ['SLD-67', 'this.switchTo(cpu, this.hostDetection)', 'this.switchTo(cpu, true)'],
  ]),
  ...of('src/kvm/vcpu/reset.ts', 'test/kvm/splitlock/world-switch.test.ts', [
    ['SLD-51', 'if (vcpu.splitLock !== null) vcpu.splitLock.testCtrl = 0n', ''],
  ]),
  ...of('src/kvm/run/exits.ts', 'test/kvm/splitlock/decision-tables.test.ts', [
    ['SLD-32', ' && (context.ctlLo(CTL.CR0) & X86_CR0_AM) !== 0 && (context.rflagsRest & X86_EFLAGS_AC) !== 0\n', '\n'],
    ['SLD-48', ' || vcpu.splitLock?.guestDetects === true) {', ') {'],
  ]),
  ...of('src/kvm/vcpu/split-lock.ts', 'test/kvm/splitlock/guests.test.ts', [
    ['SLD-44', 'return kernel.machine.threadsPerCore === 1 || despiteSmt ? ', 'return despiteSmt || true ? '],
    ['SLD-45', 'const valid = this.isOffered ? TEST_CTRL_SPLIT_LOCK_DETECT : 0n', 'const valid = TEST_CTRL_SPLIT_LOCK_DETECT'],
  ]),
  ...of('src/kvm/files.ts', 'test/kvm/splitlock/programs.test.ts', [
    ['SLD-61', 'if (vcpu.mutexOwner !== null) return this.waitForMutex(row, task, argument)', ''],
  ]),
]
