#!/usr/bin/env node
"use strict";
console.log(this, (function () { return this; })());
